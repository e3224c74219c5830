"""A whole run of NumPy, torch fused and Keras over the tensors of GPT-2 small, explained on a sample."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.whole_run import Subject, beside
from parity.case.shapes import tensors_in

CASE = Path(__file__).parents[1] / "examples" / "gpt2.toml"
STEPS = 19
"""Beside the first, in which the bare loops warm up."""


def figures(quick: bool = False) -> list[Figure]:
    """Of one round: it takes minutes."""
    shapes = CASE.with_suffix(".json")
    case = CASE.read_text(encoding="utf-8").replace("steps = 20", "steps = {steps}")
    case = case.replace('"gpt2.json"', f'"{shapes}"')
    asked = {one.name: one.shape for one in tensors_in(shapes)}
    what = "NumPy, torch fused and Keras on GPT-2 small, 20 steps, explained on a sample"
    return beside(Subject(what, case, "fused", repr(asked), steps=STEPS, least=1, enough=0.0))
