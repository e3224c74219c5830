"""Recorded gradients: read as they were written, refused where a bit has changed."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.case.catalogue import load_case_file, shipped_cases
from parity.case.gradients import fill_gradients, fill_weights
from parity.case.journal import digest_of_step
from parity.case.recording import check_recording, read_recording
from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError
from parity.numerics.formats import FORMATS

RECORDED = shipped_cases() / "recorded"
NAMES = ("dense-one", "dense-softmax", "digits-mlp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED / "dense-one", tmp_path / "dense-one"))


def complaint(folder: Path) -> str:
    with pytest.raises(ParityError) as error:
        check_recording(read_recording(folder))
    assert error.value.exit_code == 4
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recordings_are_whole_and_alive(name: str) -> None:
    recording = read_recording(RECORDED / name)
    check_recording(recording)
    assert recording.steps == 100
    gradients = np.array(
        [
            np.concatenate([recording.gradients(one.name, step) for one in recording.layout.parameters])
            for step in range(1, 101)
        ]
    )
    assert np.isfinite(gradients).all()
    assert len({row.tobytes() for row in gradients}) == 100
    assert recording.magnitudes == (float(abs(gradients[gradients != 0]).min()), float(abs(gradients).max()))


DIGESTS = {
    "dense-one": (
        "b272502b5c3bbf7fe527d1ac30333372f5ea0c3e385de09933726f07e8b22fc2",
        "b030439285cc380c5d63a94c67288bb9fb93f54583fb889f5d5b9c20c835d52b",
    ),
    "dense-softmax": (
        "f65e8c23d38d018214249d3cdf3bb8f227196ddda89cad142f94cf0bbb516270",
        "c52561c72048608b5b4b5031acf0a47b7071a3d9cc09c95210ecc3ef8173645d",
    ),
    "digits-mlp": (
        "d647f170efe6a81ea71b7616f37b09f53417a6c9b952c782e09f1b648323ae5e",
        "b055f0a4583e805676d6d18071866a68cfda56d7c14d7b33f884976d946fa96d",
    ),
}
"""SHA-256 of weights and gradients as the first version of parity that had them recorded them."""


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_the_first_recording(name: str) -> None:
    recording = read_recording(RECORDED / name)
    assert (recording.digest_before(), recording.gradients_digest) == DIGESTS[name]


def test_recordings_are_small_and_name_no_place() -> None:
    assert sum(file.stat().st_size for file in RECORDED.rglob("*") if file.is_file()) < 4_500_000
    for name in NAMES:
        told = (RECORDED / name / "recording.json").read_text(encoding="utf-8")
        assert not re.search(r'"/[a-z]|[A-Z]:\\|/work|/home|/tmp', told)
        assert {"optimizer", "framework", "versions", "python", "machine"} <= set(json.loads(told))


def test_the_first_gradients_are_those_of_the_loss() -> None:
    # MSE of w x + b against 2 x at x = 1, 2, 3: dL/dw = 2 mean(x (w x + b - 2 x)), dL/db likewise.
    recording = read_recording(RECORDED / "dense-one")
    weight, bias = float(recording.weights("kernel")[0]), float(recording.weights("bias")[0])
    x = np.array([1.0, 2.0, 3.0])
    residual = weight * x + bias - 2 * x
    assert float(recording.gradients("kernel", 1)[0]) == pytest.approx(2 * (x * residual).mean(), rel=1e-6)
    assert float(recording.gradients("bias", 1)[0]) == pytest.approx(2 * residual.mean(), rel=1e-6)


def test_a_case_gets_the_recorded_bits() -> None:
    (case,) = load_case_file(shipped_cases() / "digits-mlp.toml")
    recording = read_recording(RECORDED / "digits-mlp")
    row = np.zeros(case.layout().size, np.uint32)
    rows = {name: np.fromfile(RECORDED / "digits-mlp" / f"{name}.bits", np.uint32) for name in ("gradients", "w")}
    assert fill_gradients(case, FORMATS["float32"], 100, row) == ()
    np.testing.assert_array_equal(row, rows["gradients"].reshape(100, -1)[99])
    fill_weights(case, FORMATS["float32"], row)
    np.testing.assert_array_equal(row, rows["w"].reshape(101, -1)[0])
    wide = np.zeros(case.layout().size, np.uint64)
    fill_gradients(case, FORMATS["float64"], 7, wide)
    first = recording.layout.parameters[0]
    expected = recording.gradients(first.name, 7).astype(np.float64)
    np.testing.assert_array_equal(wide[: first.size].view(np.float64), expected)


@pytest.mark.parametrize(("array", "told"), [("w.bits", "step 100 was"), ("gradients.bits", "step 100 was")])
def test_one_changed_bit_is_noticed(folder: Path, array: str, told: str) -> None:
    whole = bytearray((folder / array).read_bytes())
    whole[-3] ^= 1
    (folder / array).write_bytes(whole)
    assert f"{told} altered since it was recorded" in complaint(folder)


@pytest.mark.parametrize("array", ["w.bits", "gradients.bits"])
@pytest.mark.parametrize("left", [0, 40, -4])
def test_a_file_cut_short_is_noticed(folder: Path, array: str, left: int) -> None:
    (folder / array).write_bytes((folder / array).read_bytes()[:left])
    told = complaint(folder)
    assert f"{array}: cut: " in told or f"{array}: not readable" in told


@pytest.mark.parametrize("array", ["w.bits", "gradients.bits"])
def test_a_missing_array_is_noticed(folder: Path, array: str) -> None:
    (folder / array).unlink()
    assert f"{array}: recorded data is missing" in complaint(folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("schema_version", 4, "schema version 4 cannot be read; allowed: 2, 3"),
        ("schema_version", 1, "schema version 1 cannot be read; allowed: 2, 3; record it again"),
        ("parameters", [{}], "not a readable recording (KeyError: 'name')"),
        ("quantities", ["w", "m"], "not a readable recording (KeyError: 'm')"),
        ("digest", "00", "the initial state was altered since it was recorded"),
        ("steps", 99, "cut: 100 steps, recording.json says 99"),
    ],
)
def test_a_wrong_description_is_noticed(folder: Path, key: str, value: object, told: str) -> None:
    file = folder / "recording.json"
    header = {**json.loads(file.read_text(encoding="utf-8")), key: value}
    file.write_text(json.dumps(header), encoding="utf-8")
    assert (told if key == "schema_version" else "its seal does not fit") in complaint(folder)
    file.write_text(json.dumps({**header, SEAL: seal_of(header)}), encoding="utf-8")
    assert told in complaint(folder)


def test_a_bit_of_every_byte_of_a_header_and_of_a_journal_is_guarded(write_recording: Any) -> None:
    one = {"w": np.ones(1, np.float32)}
    folder = write_recording("made", one, [one, one])
    whole = read_recording(folder)
    check_recording(whole)
    for name in ("recording.json", "steps.jsonl"):
        content = (folder / name).read_bytes()
        for place in range(len(content)):
            bit = bytes([content[place] ^ 1 << place % 8])
            (folder / name).write_bytes(content[:place] + bit + content[place + 1 :])
            try:
                changed = read_recording(folder)
                check_recording(changed)
            except ParityError:
                continue
            # White space is no value.
            assert (changed.told, changed.journal) == (whole.told, whole.journal), (name, place)
        (folder / name).write_bytes(content)


def test_a_recording_without_a_seal_is_read_and_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it was written before there was one: a digest is of the rows alone."""
    whole = read_recording(folder)
    rows = [whole.rows(one) for one in ("gradients", "w")]
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    told = [json.dumps({**line, "digest": digest_of_step(row)}) for line, *row in zip(lines, *rows, strict=True)]
    assert told[0].endswith('"digest": "7881a57af3f2d8e5582a05baf8d34ccc"}')
    (folder / "steps.jsonl").write_text("".join(f"{line}\n" for line in told))
    header = {key: value for key, value in whole.told.items() if key != SEAL}
    (folder / "recording.json").write_text(json.dumps({**header, "schema_version": 2}), encoding="utf-8")
    for _ in range(2):
        recording = read_recording(folder)
        check_recording(recording)
    assert [one.groups for one in recording.journal] == [one.groups for one in whole.journal]
    assert recording.gradients_digest == whole.gradients_digest
    err = capsys.readouterr().err
    assert err == (
        f"parity: {folder}: recorded before journals had a seal: another lr, beta or name in it would go unnoticed; "
        "record it again for one\n"
    )
    bits = bytearray((folder / "w.bits").read_bytes())
    bits[-3] ^= 1
    (folder / "w.bits").write_bytes(bits)
    assert "step 100 was altered" in complaint(folder)


def test_a_missing_or_broken_description_is_noticed(folder: Path) -> None:
    (folder / "recording.json").write_text("{", encoding="utf-8")
    assert "recording.json: not a readable recording (" in complaint(folder)
    (folder / "recording.json").unlink()
    assert "recording 'dense-one' has no recording.json" in complaint(folder)


def test_a_damaged_recording_stops_the_case(tmp_path: Path) -> None:
    shutil.copytree(shipped_cases(), tmp_path / "cases")
    (tmp_path / "cases" / "recorded" / "dense-one" / "gradients.bits").unlink()
    with pytest.raises(ParityError, match=r"tutorial-dense-one\.toml: .*gradients\.bits: recorded data is missing"):
        load_case_file(tmp_path / "cases" / "tutorial-dense-one.toml")


def test_what_was_not_recorded_is_refused() -> None:
    recording = read_recording(RECORDED / "dense-one")
    with pytest.raises(ParityError, match="step 101 was not recorded; allowed: 1 to 100"):
        recording.gradients("kernel", 101)
    with pytest.raises(ParityError, match=r"no parameter 'kernle' in recording .*did you mean 'kernel'"):
        recording.weights("kernle")


def test_the_script_imports_frameworks_in_functions_only() -> None:
    tree = ast.parse((RECORDED / "record.py").read_text(encoding="utf-8"))
    top = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names} | {
        (node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)
    }
    assert not top & {"torch", "keras", "tensorflow", "sklearn"}
