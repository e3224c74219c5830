"""A case on a sample: the same numbers, element by element, as the case has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.case.catalogue import load_case_file, select_cases
from parity.case.gradients import fill_gradients, fill_start, fill_weights
from parity.case.sample import ALIGNED, sample_of, sampled
from parity.numerics.formats import FORMATS, row_format

TEXT = """
summary = "A case of a test."
why = "It is tested here."
seed = 11
steps = 3
dtypes = ["float32", "bfloat16"]
weights = {{ kind = "uniform", low = -1.0, high = 1.0 }}
{more}
[[parameters]]
name = "scalar"
shape = []
gradients = {gradients}
[[parameters]]
name = "long"
shape = [271, 997]
gradients = {gradients}
[[parameters]]
name = "wide"
shape = [1031]
dtype = "float64"
gradients = {gradients}
start = {{ steps = 2, m = {{ kind = "zero" }}, v = {{ kind = "uniform", low = 0.0, high = 1.0 }} }}
[[parameters]]
name = "short"
shape = [5, 51]
gradients = {gradients}
"""

GRADIENTS = [
    '{ kind = "bell", scale = 0.1, none_steps = [2] }',
    '{ kind = "bell", scale = 0.1, nan_steps = [2] }',
    '{ kind = "uniform", low = 0.5, high = 2.0 }',
    '{ kind = "decades", low = 1e-9, high = 1e3, zeros = 0.2 }',
    '{ kind = "constant", value = 3.0 }',
    '{ kind = "flipping", value = 3.0 }',
]


def load(folder: Path, gradients: str = GRADIENTS[0], more: str = ""):
    path = folder / "one.toml"
    path.write_text(TEXT.format(gradients=gradients, more=more), encoding="utf-8")
    (case,) = load_case_file(path)
    return case


def made(case, dtype):
    """Weights, moments and the gradients of all steps, one below the other, and which are None."""
    format = FORMATS[dtype]
    rows = np.zeros((4 + case.steps, case.layout().size), row_format(case.layout(), format).unsigned)
    fill_weights(case, format, rows[0])
    counts = fill_start(case, format, dict(zip(("m", "v", "vmax"), rows[1:4], strict=True)))
    none = [fill_gradients(case, format, step, rows[3 + step]) for step in range(1, case.steps + 1)]
    return rows, none, counts.tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gradients", GRADIENTS)
def test_a_sample_has_the_numbers_of_the_whole(tmp_path, gradients, dtype):
    case = load(tmp_path, gradients)
    whole, none, counts = made(case, dtype)
    for width in (64, 256):
        part = sampled(case, width)
        assert part is not None
        rows, none_of_part, counts_of_part = made(part, dtype)
        assert np.array_equal(rows, sample_of(whole, part))
        assert (none_of_part, counts_of_part) == (none, counts)


def test_a_sample_of_a_recording_has_its_numbers():
    (case,) = select_cases((), "digits-mlp")
    whole, none, _ = made(case, case.dtypes[0])
    part = sampled(case, ALIGNED)
    assert part is not None
    assert part.layout().size < case.layout().size
    rows, none_of_part, _ = made(part, case.dtypes[0])
    assert np.array_equal(rows, sample_of(whole, part))
    assert none_of_part == none


def test_a_sample_begins_and_ends_where_its_tensor_does_and_keeps_places_in_vectors(tmp_path):
    case = load(tmp_path)
    for size in [*range(1, 1400), 4097, 38_597_376]:
        for width in (64, 256):
            (tensor,) = [one for one in case.parameters if one.name == "long"]
            whole = case.model_copy(update={"parameters": (tensor.model_copy(update={"shape": (size,)}),)})
            part = sampled(whole, width)
            assert part is not None
            (one,) = part.parameters
            assert one.whole_shape == (size,)
            assert sum(stop - start for start, stop in one.spans) == one.shape[0] == part.layout().size
            assert (one.spans[0][0], one.spans[-1][1]) == (0, size)
            assert all(before[1] <= after[0] for before, after in zip(one.spans, one.spans[1:], strict=False))
            # Those behind the first stand at the same place of a vector in the sample.
            assert all(start % ALIGNED == 0 for start, _ in one.spans)
            assert all((stop - start) % ALIGNED == 0 for start, stop in one.spans[:-1])
            assert one.shape[0] <= 4 * width


def test_a_sample_is_another_question(tmp_path):
    case = load(tmp_path)
    parts = [one for one in (sampled(case, 64), sampled(case, 128)) if one is not None]
    # Tensors that have the same shapes, and are no parts of others.
    alone = []
    for one in parts:
        parameters = tuple(each.model_copy(update={"sampled": None}) for each in one.parameters)
        alone.append(one.model_copy(update={"parameters": parameters}))
    assert len({one.digest() for one in (case, *parts, *alone)}) == 5


@pytest.mark.parametrize("name", ["clip-global-norm", "loss-scale", "restart", "embedding-rows", "row-sparse"])
def test_there_is_no_sample_where_elements_do_not_go_their_own_ways(name):
    for case in select_cases((), name):
        assert sampled(case, 64) is None
