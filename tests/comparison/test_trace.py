"""Trace folders: what was written is what is read, and whatever else is there is one line naming the file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.comparison.trace import HEADER, hyper_from_json, hyper_to_json, read_trace
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS

ROWS = np.random.default_rng(0).standard_normal((4, 33))


@pytest.fixture
def folder(write_trace):
    return write_trace("made", ROWS, m=ROWS / 3, v=ROWS**2)


def refusal(folder):
    with pytest.raises(ParityError) as caught:
        read_trace(folder)
    told = str(caught.value)
    assert "\n" not in told
    return told


def edit(folder, **changes):
    path = folder / HEADER
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_survive(write_trace, dtype):
    format = FORMATS[dtype]
    bits = np.random.default_rng(1).integers(0, 1 << 16, (3, 50)).astype(format.unsigned)
    bits[1, :4] = [format.infinity_bits, format.infinity_bits + 1, format.sign_bit, 1]
    trace = read_trace(write_trace("made", bits.view(format.dtype), dtype=dtype))
    assert np.array_equal(trace.array("w").view(format.unsigned), bits)
    assert trace.array("w").dtype == format.dtype
    assert not trace.array("w").flags.writeable


@pytest.mark.parametrize("lr", [0.1, 1e-3, (0.1, 5e-324, 0.3)])
def test_hyperparameters_survive_to_the_last_bit(lr):
    hyper = Hyper(
        lr=lr, beta1=0.1 + 0.2, beta2=1 - 2**-53, eps=5e-324, weight_decay=1e308, decoupled=True, amsgrad=True
    )
    assert hyper_from_json(json.loads(json.dumps(hyper_to_json(hyper)))) == hyper


def test_quantities_and_steps_are_told(folder):
    trace = read_trace(folder)
    assert (trace.quantities, trace.steps, trace.layout.size) == (("m", "v", "w"), 3, 33)


def test_every_flipped_bit_of_the_values_is_detected(folder):
    path = folder / "w.npy"
    whole = path.read_bytes()
    start = len(whole) - ROWS.size * 4
    places = np.random.default_rng(2).integers(start * 8, len(whole) * 8, 200)
    for place in places:
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << (place % 8)
        path.write_bytes(altered)
        step = (place // 8 - start) // (33 * 4)
        assert refusal(folder) == f"{path}: altered at step {step} (its digest differs from {HEADER})"
    path.write_bytes(whole)
    read_trace(folder)


def test_a_flipped_bit_of_the_file_header_is_detected_or_changes_nothing(folder):
    """'<u4' and '=u4' are one bit apart and mean the same here."""
    path = folder / "w.npy"
    whole = path.read_bytes()
    values = read_trace(folder).array("w").copy()
    harmless = 0
    for place in range(8 * (len(whole) - ROWS.size * 4)):
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << (place % 8)
        path.write_bytes(altered)
        try:
            same = np.array_equal(read_trace(folder).array("w"), values)
        except ParityError:
            assert refusal(folder).startswith(f"{path}: ")
        else:
            harmless += 1
            assert same
    assert harmless < 10


@pytest.mark.parametrize("left", [0, 1, 60, 200, -1])
def test_a_truncated_file_is_named(folder, left):
    path = folder / "m.npy"
    path.write_bytes(path.read_bytes()[:left])
    assert refusal(folder).startswith(f"{path}: truncated or altered (")


def test_a_missing_file_is_named(folder):
    (folder / "v.npy").unlink()
    assert refusal(folder) == f"{folder / 'v.npy'}: missing, though {HEADER} lists it"


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((3, 33), np.uint32),
        np.zeros((4, 32), np.uint32),
        np.zeros((4, 33), np.uint64),
        np.zeros((4, 33), np.float32),
    ],
)
def test_another_shape_or_type_is_named(folder, rows):
    np.save(folder / "w.npy", rows)
    assert refusal(folder) == f"{folder / 'w.npy'}: {rows.dtype} {rows.shape} where uint32 (4, 33) was written"


def test_a_pickle_is_not_opened(folder):
    np.save(folder / "w.npy", np.array([["never"] * 33] * 4, dtype=object), allow_pickle=True)
    assert refusal(folder).startswith(f"{folder / 'w.npy'}: truncated or altered (")


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 2},
        {"dtype": "float64"},
        {"dtype": "float31"},
        {"implementation": "numpy.adam.hat"},
        {"input_digest": "other"},
        {"hyper": {}},
        {"digests": {}},
        {"parameters": [{"name": "q", "shape": [33], "offset": 0}]},
        {"seal": "0" * 32},
        {"extra": 1},
    ],
)
def test_an_altered_header_is_named(folder, changes):
    edit(folder, **changes)
    assert refusal(folder) == f"{folder / HEADER}: altered (its content does not belong to its seal)"


def test_a_newer_schema_is_refused(folder):
    edit(folder, schema=3)
    assert refusal(folder) == f"{folder / HEADER}: schema 3; this parity reads schema 2"


def test_an_older_schema_is_told_how_to_be_made_again(folder):
    edit(folder, schema=1)
    told = "schema 1; this parity reads schema 2; make it again with 'parity run --keep-traces'"
    assert refusal(folder) == f"{folder / HEADER}: {told}"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}"])
def test_a_header_that_is_none_is_named(folder, content):
    (folder / HEADER).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / HEADER}: ")


def test_no_folder_no_trace(tmp_path):
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: no trace here, {HEADER} is missing"


def test_a_file_is_no_trace(folder):
    assert refusal(folder / "w.npy").startswith(f"{folder / 'w.npy' / HEADER}: cannot be read (")
