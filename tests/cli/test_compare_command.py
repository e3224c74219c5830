"""`parity compare` of recordings: what cannot be compared is one line or a row, with its exit code, and never green."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import parity

STEPS = 5


def numbers(shapes=None, seed=0, steps=STEPS):
    random = np.random.default_rng(seed)
    shapes = shapes or {"0.weight": (4, 3), "0.bias": (3,)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    gradients = [
        {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(steps)
    ]
    return weights, gradients


def last_line(out):
    return " ".join(out.strip().splitlines()[-1].split())


def one_line(err):
    (line,) = err.strip().splitlines()
    return line


def test_the_same_twice_is_green_and_nothing_else_here_is(write_recording, command, tmp_path):
    one, two = write_recording("one", *numbers()), write_recording("two", *numbers())
    code, out, err = command("compare", one, two, "-o", tmp_path / "told", "--csv", "--json", tmp_path / "told.json")
    assert (code, err) == (0, "")
    assert out.strip().splitlines()[-1].startswith("kept: ")
    assert {file.name for file in (tmp_path / "told").iterdir()} == {
        "divergence.parquet",
        "divergence.csv",
        "trainings.json",
        "report.md",
        "report.html",
    }
    written = json.loads((tmp_path / "told.json").read_text())
    assert written == json.loads((tmp_path / "told" / "trainings.json").read_text())
    assert command("compare", one, two, "-o", tmp_path / "told")[0] == 0
    assert not (tmp_path / "told" / "divergence.csv").exists()


def test_other_names_are_paired_and_the_row_says_how(write_recording, command, tmp_path):
    weights, gradients = numbers()
    other = {"0.weight": "kernel", "0.bias": "bias"}
    one = write_recording("one", weights, gradients)
    two = write_recording(
        "two",
        {other[name]: array for name, array in weights.items()},
        [{other[name]: array for name, array in step.items()} for step in gradients],
    )
    assert command("compare", one, two, "--json", tmp_path / "told.json")[0] == 0
    pairs = json.loads((tmp_path / "told.json").read_text())["pairing"]["pairs"]
    assert [(pair["actual"], pair["expected"], pair["by"]) for pair in pairs] == [
        ("0.weight", "kernel", "value"),
        ("0.bias", "bias", "value"),
    ]


def test_another_shape_is_compared_with_none_and_told(write_recording, command):
    weights, gradients = numbers()
    one = write_recording("one", weights, gradients)
    wide = np.ones(7, np.float32)
    two = write_recording("two", {**weights, "0.bias": wide}, [{**step, "0.bias": wide} for step in gradients])
    code, out, _ = command("compare", one, two)
    assert code == 1
    told = "alike in what both have; 2 parameters stand in one of them only, and were not compared: 0.bias"
    assert last_line(out) == told
    assert "only in actual: 0.bias" in out
    assert "only in expected: 0.bias" in out


def test_nothing_in_common_is_five(write_recording, command):
    one = write_recording("one", *numbers())
    other = write_recording("other", *numbers({"x": (9, 9)}))
    code, out, err = command("compare", one, other)
    assert (code, out) == (5, "")
    assert one_line(err) == "parity: one and other have no parameter in common"
    later = write_recording("later", *numbers(steps=9), before=6)
    code, out, err = command("compare", one, later)
    assert (code, out) == (5, "")
    assert one_line(err) == "parity: one and later have no step in common: 1 to 5 and 7 to 9"
    code, _, err = command("compare", one, write_recording("sampled", *numbers(), elements=2))
    assert code == 5
    assert "have no parameter in common: other elements of their tensors were kept (all and elements=2" in one_line(err)


def test_steps_that_only_one_has_are_not_green(write_recording, command):
    one, two = write_recording("one", *numbers()), write_recording("two", *numbers(), before=2)
    code, out, _ = command("compare", one, two)
    assert code == 1
    assert "of the optimizers nothing can be told: their recordings begin at different steps" in last_line(out)


@pytest.mark.parametrize("sides", ["actual", "expected", "both"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("step", [1, 4])
def test_numbers_that_are_none_are_never_green(write_recording, command, tmp_path, sides, value, step):
    """Also where both trainings break alike, to the last bit."""
    folders = []
    for side in ("actual", "expected"):
        weights, gradients = numbers()
        if sides in (side, "both"):
            gradients[step - 1]["0.bias"][1] = value
        folders.append(write_recording(side, weights, gradients))
    code, out, _ = command("compare", *folders, "-o", tmp_path / "told")
    assert code == 1
    where = "both trainings" if sides == "both" else f"{sides} alone"
    assert f"NaN or inf from step {step} on, first in gradients of 0.bias, in {where}" in out
    told = json.loads((tmp_path / "told" / "trainings.json").read_text())
    assert not told["alike"]
    assert "hold NaN or inf" in told["sentence"]
    table = pq.read_table(tmp_path / "told" / "divergence.parquet").to_pandas()
    assert table[table.nonfinite > 0].step.min() == step


def test_numbers_that_are_none_later_than_the_trainings_part_are_told(write_recording, command):
    weights, gradients = numbers()
    gradients[3]["0.bias"][1] = np.nan
    folders = [
        write_recording(name, weights, gradients, hyper=parity.Hyper(lr=lr)) for name, lr in (("a", 1), ("b", 2))
    ]
    code, out, _ = command("compare", *folders)
    assert code == 1
    assert last_line(out) == (
        "the gradients of the first step are alike; from step 4 on the gradient of 0.bias holds NaN or inf, in both"
    )


def test_weights_that_begin_as_no_numbers_are_never_green(write_recording, command):
    weights, gradients = numbers()
    weights["0.bias"][0] = np.nan
    code, out, _ = command(
        "compare", write_recording("one", weights, gradients), write_recording("two", weights, gradients)
    )
    assert code == 1
    assert "NaN or inf from step 1 on, first in w of 0.bias, in both trainings" in out


def test_two_recordings_of_one_name_keep_apart(write_recording, command, tmp_path):
    weights, gradients = numbers()
    one, two = write_recording("a/run", weights, gradients), write_recording("b/run", weights, gradients)
    assert command("compare", one, two, "-o", tmp_path / "told")[0] == 0
    table = pq.read_table(tmp_path / "told" / "divergence.parquet").to_pandas()
    assert ({*table["actual"]}, {*table["expected"]}) == ({"a/run"}, {"b/run"})
    (tmp_path / "c").symlink_to(tmp_path / "a")
    code, out, err = command("compare", one, tmp_path / "c" / "run")
    assert (code, out) == (2, "")
    assert one_line(err).endswith("are one recording")


def test_an_optimizer_whose_numbers_are_not_known_is_not_green(write_recording, change_recording, command):
    weights, gradients = numbers()
    one, two = write_recording("one", weights, gradients), write_recording("two", weights, gradients)
    change_recording(two, lines=lambda told: told[0].update(groups=[{}]))
    code, out, _ = command("compare", one, two)
    assert code == 1
    assert (
        "nothing can be told: recording 'two': its hyperparameters are not known; record it with hyper="
        in last_line(out)
    )


def cut(folder):
    (folder / "w.bits").write_bytes((folder / "w.bits").read_bytes()[:-8])


def flip(folder):
    bits = bytearray((folder / "gradients.bits").read_bytes())
    bits[5] ^= 1
    (folder / "gradients.bits").write_bytes(bits)


def newer(folder):
    header = json.loads((folder / "recording.json").read_text())
    (folder / "recording.json").write_text(json.dumps({**header, "schema_version": 99}))


def lost(folder):
    (folder / "gradients.bits").unlink()


@pytest.mark.parametrize(("harm", "told"), [
    (cut, "cut: 5 rows"), (flip, "step 1 was altered"), (newer, "schema version 99 cannot be read"),
    (lost, "recorded data is missing"),
])  # fmt: skip
def test_a_damaged_recording_is_one_line_and_leaves_nothing(write_recording, command, tmp_path, harm, told):
    one, two = write_recording("one", *numbers()), write_recording("two", *numbers())
    harm(two)
    code, out, err = command("compare", one, two, "-o", tmp_path / "told")
    assert (code, out) == (4, "")
    assert told in one_line(err)
    assert not list(tmp_path.glob("told/*"))


@pytest.mark.parametrize("words", [("-o", "told"), ("--csv",), ("--map", "map.toml"), ("--write-map", "map.toml")])
def test_what_belongs_to_recordings_is_not_for_traces(write_trace, command, words):
    one, two = write_trace("one", [[1.0], [2.0]]), write_trace("two", [[1.0], [2.0]])
    code, out, err = command("compare", one, two, *words)
    assert (code, out) == (2, "")
    assert one_line(err) == f"parity: {words[0]} belongs to two recordings; these are traces"


def test_what_belongs_elsewhere_is_not_for_recordings(write_recording, command):
    one, two = write_recording("one", *numbers()), write_recording("two", *numbers())
    for words, told in (
        (("--within", "w:max_ulp=1"), "--within belongs to two traces"),
        (("--csv",), "--csv belongs to -o"),
    ):
        code, _, err = command("compare", one, two, *words)
        assert code == 2
        assert told in one_line(err)


def test_a_folder_that_cannot_be_written_is_one_line(write_recording, command, tmp_path):
    one, two = write_recording("one", *numbers()), write_recording("two", *numbers())
    (tmp_path / "file").write_text("")
    code, _, err = command("compare", one, two, "-o", tmp_path / "file")
    assert (code, one_line(err)) == (2, f"parity: -o {tmp_path / 'file'}: is a file, not a folder")
    code, _, err = command("compare", one, two, "-o", tmp_path / "file" / "deeper")
    assert code == 4
    assert "file" in one_line(err)


def test_the_names_of_the_library_do_the_same(write_recording, tmp_path):
    found = parity.compare_trainings(write_recording("one", *numbers()), write_recording("two", *numbers(seed=1)))
    assert not found.alike
    assert found.sentence.startswith("not the optimizer: they start apart, in 2 of 2 tensors (0.weight by up to ")
