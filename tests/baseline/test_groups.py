"""Entries with the same fate share a line, and no entry is left out."""

from __future__ import annotations

import math

from parity.baseline.drift import Cause, Change, Drift, Status, farthest, grouped
from parity.numerics.ulp import NO_DISTANCE


def changed(case, *families, sentence="", first=3, dtype="float32"):
    causes = tuple(Cause(family, f"in {case}") for family in families)
    change = Change(first, ("w",), (), sentence or f"it differs in {case}", causes, bool(families))
    return Drift(case, dtype, "some.adam", Status.CHANGED, "told", 10, change)


def test_one_group_for_every_implementation_dtype_and_status():
    drifts = [
        changed("a"),
        Drift("b", "float32", "some.adam", Status.IDENTICAL, "", 10),
        Drift("c", "float32", "some.adam", Status.MISSING, "not there"),
        changed("d", dtype="float64"),
        Drift("e", "float32", "other.adam", Status.FAILED, "crashed"),
        changed("f", first=2),
    ]
    groups = grouped(drifts)
    assert [(one.implementation, one.dtype, one.status, len(one.drifts), one.of) for one in groups] == [
        ("some.adam", "float32", Status.CHANGED, 2, 4),
        ("some.adam", "float32", Status.MISSING, 1, 4),
        ("some.adam", "float64", Status.CHANGED, 1, 1),
        ("other.adam", "float32", Status.FAILED, 1, 1),
    ]
    assert [one.first_step for one in groups] == [2, 0, 3, 0]
    assert {id(one) for group in groups for one in group.drifts} == {
        id(one) for one in drifts if one.status is not Status.IDENTICAL
    }
    assert grouped(drifts[1:2]) == ()


def test_causes_of_the_same_families_are_said_once():
    (group,) = grouped([changed("a"), changed("b", "fma"), changed("c", "fma", "sqrt"), changed("d", "fma")])
    assert group.reasons == (("it differs in b", 2), ("it differs in a", 1), ("it differs in c", 1))


def test_what_is_not_explained_is_told_apart_by_its_words():
    (group,) = grouped([changed("a", sentence="one"), changed("b", sentence="two"), changed("c", sentence="two")])
    assert group.reasons == (("two", 2), ("one", 1))


def test_a_step_whose_lr_is_0_has_no_unit():
    assert farthest([(62, math.inf), (3, 1e-5)]) == (62, 1e-5)
    assert farthest([(3, 1e-5), (NO_DISTANCE, math.inf)]) == (NO_DISTANCE, math.inf)
    assert farthest([]) == (0, 0.0)
