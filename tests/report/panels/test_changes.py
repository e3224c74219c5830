"""What follows from documents: maps, blocks of entries with one fate, environments beside each other."""

from __future__ import annotations

import json
import math
from copy import deepcopy

import pytest

from parity.baseline.drift import Status
from parity.core.environment import Difference
from parity.report.panels.changes import change_field, changes_of, pins_of, read_changes
from parity.report.panels.documents import DivergenceRow, EntryChange, HeldEntry, document_of
from parity.report.panels.maps import heat_of


@pytest.fixture
def changes(documents):
    """What follows from a document, edited."""

    def make(kind="upgrade", edit=lambda value: None):
        value = deepcopy(documents[kind])
        edit(value)
        return changes_of(document_of(value, "made"))

    return make


def row(lr, ulp=4, quantity="w"):
    steps = float(lr).hex() if quantity == "w" else None
    return DivergenceRow(quantity, "kernel", 2, 9, 1, (1e-3).hex(), ulp, steps, 0, "0x1p+0", "0x1p+1")


def entry(case, *rows, status=Status.CHANGED, explained=False, first=3):
    change = EntryChange(first, ("w",), "it differs", explained, (), rows) if status is Status.CHANGED else None
    return HeldEntry(case, "float32", "some.adam", status, "", 10, (), change)


def test_a_field_has_the_worst_of_its_entries_and_the_earliest_step():
    entries = [entry("a", row(0.5, 7)), entry("b", row(0.25, 9), explained=True, first=2), entry("c", row(0.0, 0))]
    same = HeldEntry("d", "float32", "some.adam", Status.IDENTICAL, "", 10, (), None)
    field = change_field([same, *entries, entry("e", status=Status.FAILED)])
    assert field.counts == ((Status.IDENTICAL, 1), (Status.CHANGED, 3), (Status.FAILED, 1))
    assert (field.first, field.explained, field.ulp, field.lr, field.heat) == (2, 1, 9, 0.5, heat_of(0.5))
    assert field.worst.case == "a"
    assert change_field([same]).worst is None


def test_nan_is_farther_than_any_number():
    lost, far = entry("lost", row(math.nan, 2**64 - 1)), entry("far", row(1e30, 2**60))
    assert lost.change.weights == (2**64 - 1, math.inf)
    assert change_field([far, lost]).worst is lost
    assert change_field([far, lost]).heat == heat_of(math.nan)


def test_of_the_moments_no_weight_moves():
    assert entry("a", row(0, 5, "m")).change.weights == (0, 0.0)


def test_an_upgrade_is_a_map_by_dtype(changes):
    found = changes()
    assert [one.name for one in found.map.columns] == ["float64", "float32", "float16"]
    assert {
        name: {column: dict(field.counts) for column, field in row.items()} for name, row in found.map.rows.items()
    } == {
        "numpy.adam.outside": {"float64": {"failed": 1}, "float32": {"identical": 1}, "float16": {"missing": 1}},
        "user.plugin": {"float64": {"failed": 1}, "float32": {"changed": 1}, "float16": {"missing": 1}},
    }
    assert [(one.same, one.changed) for one in found.map.columns] == [(False, False), (False, True), (False, False)]
    assert found.moved == (Difference("adams", "1.0", "2.0"),)
    assert [(one.group.implementation, one.group.dtype) for one in found.changed] == [("user.plugin", "float32")]
    assert [one.group.status for one in found.untold] == ["failed", "missing"] * 2
    assert found.worst is found.changed[0]
    assert (found.total.entries, found.compared) == (6, 36)


def test_a_matrix_is_a_map_by_release_and_one_that_cannot_be_had_is_not_the_same(changes):
    found = changes("matrix")
    assert [(one.name, one.same, one.changed, bool(one.why)) for one in found.map.columns] == [
        ("1.0", False, True, False),
        ("1.5", False, False, True),
        ("1.9", True, False, False),
    ]
    assert set(found.map.rows["user.plugin"]) == {"1.0", "1.9"}
    assert all(block.releases == ("1.0",) for block in (*found.changed, *found.untold))
    assert found.places["1.0", "user.plugin", "float32", "changed"] == found.changed[0].number


def alike(value):
    """The release that changed stands twice, in other surroundings."""
    value["order"].insert(1, "1.1")
    again = deepcopy(value["releases"]["1.0"])
    again["held"]["before"]["name"] = "adams==1.1"
    for one in again["held"]["entries"]:
        one["environment"] = [{"what": "numpy", "before": "1.9", "after": "2.0"}]
    value["releases"]["1.1"] = again
    value["compared"] += again["held"]["compared"]


def test_releases_that_changed_alike_share_a_block_with_the_environment_of_each(changes):
    found = changes("matrix", alike)
    (block,) = found.changed
    assert block.releases == ("1.0", "1.1")
    assert [(one.releases, len(one.differences)) for one in block.surroundings] == [(("1.0",), 0), (("1.1",), 1)]
    assert found.places["1.0", "user.plugin", "float32", "changed"] == block.number
    assert found.places["1.1", "user.plugin", "float32", "changed"] == block.number


def test_releases_that_changed_by_another_bit_do_not(changes):
    def by_a_bit(value):
        alike(value)
        moved = next(one for one in value["releases"]["1.1"]["held"]["entries"] if one["change"])
        moved["change"]["divergence"][0]["max_ulp"] += 1

    assert [one.releases for one in changes("matrix", by_a_bit).changed] == [("1.0",), ("1.1",)]


@pytest.mark.parametrize("reference", ["adams==2.0", "a baseline"])
def test_the_environments_of_releases_stand_beside_the_one_they_are_held_against(changes, reference):
    first = reference == "a baseline"

    def differing(value):
        value["reference"] = reference
        for release, numpy in (("1.0", "1.25"), ("1.9", "")):
            held = value["releases"][release]["held"]
            sides = {"before": "2.2", "after": numpy} if first else {"before": numpy, "after": "2.2"}
            held["environment"] = [{"what": "numpy", **sides}] if numpy else []
            if first:
                held["before"]["name"] = reference

    found = changes("matrix", differing).environment
    assert found.columns == ("1.0", "1.9", reference)
    assert found.rows == (("numpy", ("1.25", "2.2", "2.2")),)


def test_packages_that_no_adam_stands_on_stand_apart(changes):
    def more(value):
        value["environment"] = [{"what": name, "before": "1", "after": "2"} for name in ("python", "numpy", "adams")]

    found = changes("upgrade", more).environment
    assert [what for what, _ in found.rows] == ["python", "numpy"]
    assert found.others == (("adams", ("1", "2")),)


def test_of_a_baseline_there_are_no_pins(changes):
    found = changes("baseline")
    assert (found.moved, found.environment.columns) == ((), ("baseline", "now"))


@pytest.mark.parametrize(
    ("name", "pins"),
    [
        ("keras==3.3.3 tensorflow-cpu==2.21.0", {"keras": "3.3.3", "tensorflow-cpu": "2.21.0"}),
        ("python3", {}),
        ("keras==3.3.3 python", {}),
        ("", {}),
    ],
)
def test_pins_are_read_from_what_a_side_is_called(name, pins):
    assert pins_of(name) == pins


def test_documents_are_numbered_and_one_that_is_named_twice_is_shown_once(documents, tmp_path):
    paths = []
    for kind, value in documents.items():
        paths.append(tmp_path / f"{kind}.json")
        paths[-1].write_text(json.dumps(value))
    found = read_changes([*paths, paths[0]])
    assert [(one.number, one.document.kind) for one in found] == [*enumerate(documents)]
