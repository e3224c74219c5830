"""A kept trace as an observation, with its inputs: found, made again, missing, or those of another."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import parity
from parity.case.catalogue import load_case_file
from parity.core.errors import ParityError
from parity.identify.from_trace import read_observation

NAME = "numpy.adam.outside"


@pytest.fixture
def kept(run_small, tmp_path):
    """Keep the traces of a small run: (folder of one trace, its case). Keyword arguments are keys of the case."""

    def keep(**keys):
        run_small(NAME, "numpy.adam.hat", options=parity.Options(keep_traces=True), **keys)
        (folder,) = (tmp_path / "run" / "traces").rglob(NAME)
        return folder, load_case_file(tmp_path / "small.toml")[0]

    return keep


def test_a_kept_trace_finds_its_inputs_beside_it(kept):
    folder, case = kept()
    trace, found = read_observation(folder)
    assert trace.implementation == NAME
    assert found.probe.name == "trace"
    assert (found.probe.steps, found.probe.layout, found.probe.none) == (case.steps, case.layout(), {})
    assert np.array_equal(found.w[0], found.probe.weights)
    real = found.probe.format.dtype.type
    # The first moment of step 1 is (1 - beta1) * g: these are the gradients it was made from.
    assert np.array_equal(found.m[1], real(1 - 0.9) * found.probe.gradients[0])
    again = read_observation(folder, case=case)[1]
    assert again.probe.gradients.tobytes() == found.probe.gradients.tobytes()
    assert again.probe.weights.tobytes() == found.probe.weights.tobytes()


def test_the_input_may_lie_in_the_folder_or_anywhere(kept, tmp_path):
    folder, _ = kept()
    expected = read_observation(folder)[1].probe.gradients
    (folder.parent / "input").rename(folder / "input")
    assert np.array_equal(read_observation(folder)[1].probe.gradients, expected)
    (folder / "input").rename(tmp_path / "elsewhere")
    assert np.array_equal(read_observation(folder, tmp_path / "elsewhere")[1].probe.gradients, expected)


def test_moments_can_be_hidden(kept):
    found = read_observation(kept()[0], hide_moments=True)[1]
    assert (found.m, found.v, found.vmax) == (None, None, None)
    assert found.w.any()


def test_none_gradients_take_the_case(kept):
    none = {"kind": "bell", "scale": 0.1, "none_steps": [2]}
    parameters = [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [5], "gradients": none}]
    folder, case = kept(parameters=parameters)
    found = read_observation(folder, case=case)[1]
    assert found.probe.none == {2: frozenset({"bias"})}
    with pytest.raises(ParityError, match="or some gradients were None: name its --case"):
        read_observation(folder)


def test_without_inputs_it_is_said_what_is_missing(kept):
    folder, case = kept()
    shutil.rmtree(folder.parent / "input")
    with pytest.raises(
        ParityError, match=r"the gradients are missing; keep input/weights\.npy and .*\('small'\).*--case"
    ):
        read_observation(folder)
    assert read_observation(folder, case=case)[1].probe.steps == case.steps


def test_another_case_is_no_case_of_it(kept, write_case):
    folder, _ = kept()
    for keys, told in (({"seed": 8}, "'other' gives other weights or gradients"), ({"steps": 6}, "is no trace of the")):
        (other,) = load_case_file(write_case("other", **keys))
        with pytest.raises(ParityError, match=told):
            read_observation(folder, case=other)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def shorten(path):
    np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("input/gradients.npy", flip, "holds other inputs than this trace was made from"),
        ("input/gradients.npy", cut, r"gradients\.npy: truncated or altered"),
        ("input/gradients.npy", shorten, r"gradients\.npy: uint32 \(5, 17\) where uint32 \(6, 17\) is expected"),
        ("input/weights.npy", lambda path: path.unlink(), r"weights\.npy: missing"),
        (f"{NAME}/w.npy", flip, r"w\.npy: altered at step 5"),
        (f"{NAME}/trace.json", lambda path: path.unlink(), r"no trace here, trace\.json is missing"),
        (f"{NAME}/trace.json", lambda path: path.write_text("{"), r"trace\.json: cannot be read"),
        (f"{NAME}/trace.json", lambda path: path.write_text(json.dumps({"schema": 9})), "schema 9"),
    ],
)
def test_what_is_damaged_is_one_line(kept, file, damage, told):
    folder, _ = kept()
    damage(folder.parent / file)
    with pytest.raises(ParityError, match=told) as error:
        read_observation(folder)
    assert "\n" not in str(error.value)
