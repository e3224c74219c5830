"""The table of two recordings: its figures are those of the recorded numbers, wherever a side keeps them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

import parity
from parity.core.errors import UsageError

STEPS = 6


def numbers(seed, steps=STEPS, none=()):
    """Weights and gradients of a kernel (3, 4) and a bias (4,); in some steps the bias has no gradient."""
    random = np.random.default_rng(seed)
    weights = {"kernel": random.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4, np.float32)}
    gradients = [
        {name: random.normal(size=one.shape).astype(np.float32) for name, one in weights.items()} for _ in range(steps)
    ]
    for step in none:
        gradients[step - 1]["bias"] = None
    return weights, gradients


def transposed(weights, gradients):
    """The same training as a framework has it that calls its tensors otherwise and lays kernels the other way round."""

    def turned(arrays):
        return {"layer.weight": arrays["kernel"].T.copy(), "layer.bias": arrays["bias"]}

    return turned(weights), [turned(one) for one in gradients]


def table(folder):
    return pq.read_table(folder / "divergence.parquet").to_pandas()


@pytest.fixture
def compared(tmp_path, write_recording):
    """Compare two recordings of one start; their table."""

    def compare(change, *, none=(), **keys):
        weights, gradients = numbers(1, none=none)
        one = write_recording("one", weights, gradients)
        two = write_recording("two", *transposed(weights, change(gradients)), framework="keras", **keys)
        parity.compare_trainings(one, two, output=tmp_path / "told")
        return table(tmp_path / "told")

    return compare


def test_there_is_a_row_for_every_quantity_of_every_tensor_and_step(compared):
    found = compared(lambda gradients: gradients)
    assert {*found["mode"]} == {"closed"}
    assert ({*found["actual"]}, {*found["expected"]}) == ({"one"}, {"two"})
    assert len(found) == STEPS * 2 * len(("w", "m", "v", "gradients"))
    assert {*found["dtype"]} == {"float32"}
    assert not found["differing"].any()
    assert found.groupby("parameter", observed=True).elements.max().to_dict() == {"kernel": 12, "bias": 4}


def test_figures_are_those_of_the_elements_that_are_one(compared):
    """One element of the kernel has another gradient at step 3: found at its place, at no other, in units of lr."""

    def change(gradients):
        gradients = [{name: one.copy() for name, one in step.items()} for step in gradients]
        gradients[2]["kernel"][1, 2] *= 2
        return gradients

    found = compared(change)
    told = found[(found.quantity == "gradients") & (found.differing > 0)]
    assert [*zip(told.parameter, told.step, told.differing, told.worst_index, strict=True)] == [("kernel", 3, 1, 6)]
    (row,) = told.to_dict("records")
    one, two = (float.fromhex(row[key]) for key in ("actual_value", "expected_value"))
    assert two == 2 * one
    assert (row["max_abs"], row["max_rel"]) == (abs(one), 0.5)
    weights = found[(found.quantity == "w") & (found.differing > 0)]
    assert [*weights.step] == [3, 4, 5, 6]
    np.testing.assert_allclose(weights.max_steps, weights.max_abs / 1e-3, rtol=1e-12)


def test_a_step_without_a_gradient_has_no_row_of_gradients(compared):
    found = compared(lambda gradients: gradients, none=(2, 5))
    told = found[found.quantity == "gradients"].groupby("parameter", observed=True).step.agg(list).to_dict()
    assert told == {"kernel": [1, 2, 3, 4, 5, 6], "bias": [1, 3, 4, 6]}
    assert len(found[(found.quantity == "w") & (found.parameter == "bias")]) == STEPS


def test_units_are_those_of_the_expected_side(compared):
    found = compared(lambda gradients: gradients, hyper=parity.Hyper(lr=tuple(0.01 * (1 + n) for n in range(STEPS))))
    weights = found[(found.quantity == "w") & (found.parameter == "kernel")]
    np.testing.assert_allclose(weights.max_steps, weights.max_abs / (0.01 * weights.step), rtol=1e-12)


def test_steps_bear_their_numbers_in_the_training(tmp_path, write_recording):
    """One recording begins at step 4: what both have is compared, row 0 of the one with row 3 of the other."""
    weights, gradients = numbers(1)
    one, two = write_recording("one", weights, gradients), write_recording("two", weights, gradients, before=3)
    found = parity.compare_trainings(one, two, output=tmp_path / "told")
    assert (found.steps.first, found.steps.count, found.starts, found.step) == (4, 3, (), 4)
    assert {one.likeness for one in found.gradients} == {"equal"}
    rows = table(tmp_path / "told")
    assert sorted({*rows["step"]}) == [4, 5, 6]
    assert not rows["differing"].any()
    # Neither can be replayed beside the other, and that is never alike.
    assert not found.alike
    assert found.why_not == "their recordings begin at different steps"


def test_of_recordings_that_keep_some_steps_those_that_both_have_are_compared(tmp_path, write_recording):
    """One keeps every second step from the first, the other every third from the third: step 3, and 9."""
    weights, gradients = numbers(1, steps=12)
    one = write_recording("one", weights, gradients, every=2)
    changed = [*gradients[:8], {**gradients[8], "bias": -gradients[8]["bias"]}, *gradients[9:]]
    two = write_recording("two", weights, changed, before=2, every=3)
    found = parity.compare_trainings(one, two, output=tmp_path / "told")
    assert (found.steps.first, found.steps.every, found.steps.count) == (3, 6, 2)
    assert found.starts == ()
    assert (found.actual.counted, found.expected.counted) == (2, 2)
    rows = table(tmp_path / "told")
    assert sorted({*rows["step"]}) == [3, 9]
    assert not rows[rows.step == 3].differing.any()
    # The weights before step 9 are the same, so that its gradients are held against each other.
    assert found.step == 9
    assert {one.actual: one.likeness for one in found.gradients} == {"kernel": "equal", "bias": "factor"}
    assert not found.alike


def test_steps_with_gaps_are_no_orbit(tmp_path, write_recording):
    weights, gradients = numbers(1, steps=12)
    one, two = (write_recording(name, weights, gradients, every=3) for name in ("one", "two"))
    found = parity.compare_trainings(one, two, output=tmp_path / "told")
    assert sorted({*table(tmp_path / "told")["step"]}) == [1, 4, 7, 10]
    assert (found.alike, found.curve) == (False, ())
    assert found.why_not == "one holds one step in 3, which no optimizer goes through"


def test_the_last_steps_bear_their_numbers_too(tmp_path, write_recording):
    weights, gradients = numbers(1, steps=12)
    one, two = write_recording("one", weights, gradients), write_recording("two", weights, gradients, last=4)
    found = parity.compare_trainings(one, two, output=tmp_path / "told")
    assert (found.steps.first, found.steps.count, found.starts) == (9, 4, ())
    assert not table(tmp_path / "told").differing.any()


def test_many_blocks_are_one_table(compared, monkeypatch):
    whole = compared
    monkeypatch.setattr("parity.comparison.recordings.ELEMENTS", 24)
    found = whole(lambda gradients: gradients, none=(4,))
    assert len(found) == STEPS * 2 * 4 - 1
    assert [*found[(found.quantity == "w") & (found.parameter == "kernel")].step] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("name", "what"), [("recording.json", "a recording"), ("run.json", "a run")])
def test_nothing_is_written_over_something_else(tmp_path, write_recording, name, what):
    one, two = write_recording("one", *numbers(1)), write_recording("two", *numbers(1))
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / name).write_text("{}")
    with pytest.raises(UsageError, match=f"holds {what}; name another folder"):
        parity.compare_trainings(one, two, output=tmp_path / "told")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        parity.compare_trainings(one, two, output=tmp_path / "file")
