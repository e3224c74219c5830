"""A baseline of what takes square roots by a framework's library: of elements, or of a step's scalars alone."""

from __future__ import annotations

import json

import pytest


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["torch.adam.forloop", "torch.adam.differentiable", "keras_torch.adam.eager"])
def test_it_is_saved_and_is_the_same_again(command, write_case, tmp_path, name):
    case, folder = write_case(dtypes=["float64", "float32", "bfloat16"]), tmp_path / "baseline"
    code, out, err = command("baseline", "save", case, "-i", name, "-o", folder, "-q")
    assert (code, err) == (0, "")
    assert "3 entries in 3 cells" in out
    answer = tmp_path / "answer.json"
    code, out, err = command("baseline", "check", case, "-i", name, "-o", folder, "-q", "--json", answer)
    assert (code, err) == (0, "")
    assert json.loads(answer.read_text())["counts"]["identical"] == 3
