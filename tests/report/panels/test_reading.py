"""Documents of upgrades: what was written down is what is read, and what is wrong with one is one line."""

from __future__ import annotations

import json
import random
from copy import deepcopy

import pytest

from parity.baseline.document import FILES
from parity.baseline.upgrade import hold_sides
from parity.core.errors import ParityError
from parity.report.panels.documents import document_in, document_of, read_document, without_folders

KINDS = ("upgrade", "matrix", "bisect", "baseline")


@pytest.fixture
def written(tmp_path, documents):
    """Write a document, edited; its path."""

    def write(kind="upgrade", edit=lambda value: None, cut=None):
        value = deepcopy(documents[kind])
        edit(value)
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(value)[:cut])
        return path

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_read_as_it_was_written(written, documents, kind):
    found = read_document(written(kind))
    assert (found.kind, found.version) == (kind, documents[kind]["parity"])
    assert found.content.exit_code == documents[kind]["exit_code"] == 1
    assert all(held.entries for held in found.holdings)
    assert len(found.holdings) == (2 if kind == "matrix" else 1)


def test_entries_have_the_figures_of_the_drifts_that_they_tell_of(written, sides):
    before, after, case = sides
    drifts = hold_sides(before, after, [case]).checked.drifts
    (held,) = read_document(written()).holdings
    for entry, drift in zip(held.entries, drifts, strict=True):
        assert (entry.case, entry.dtype, entry.implementation) == (drift.case, drift.dtype, drift.implementation)
        assert (entry.status, entry.detail, entry.compared) == (drift.status, drift.detail, drift.compared)
        assert (entry.change is None) == (drift.change is None)
        if entry.change is not None:
            assert entry.change.weights == drift.change.weights > (0, 0.0)
            assert entry.change.causes == drift.change.causes
            assert [one.max_ulp for one in entry.change.worst] == [one.metrics.max_ulp[0] for one in drift.change.worst]
    assert sum(entry.change is not None for entry in held.entries) == 1


def changed_of(value):
    return next(one for one in value["entries"] if one["change"])


def put(*keys, to):
    """An edit: the value at the end of keys becomes another."""

    def edit(value):
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = to

    return edit


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("kind", "edit", "told"),
    [
        ("upgrade", put("schema", to=2), "schema 2; this parity reads schema 1"),
        ("upgrade", put("schema", to=True), "was not written by parity upgrade, matrix, bisect or baseline"),
        ("upgrade", lambda value: value.pop("schema"), "was not written by .*, or by an older parity"),
        ("upgrade", put("document", to="thesis"), "altered or truncated .document: "),
        ("upgrade", put("document", to=["upgrade"]), "altered or truncated .document: "),
        ("upgrade", put("document", to="matrix"), "altered or truncated .package: "),
        ("upgrade", put("finished", to=False), "parity upgrade did not come to its end; run it again"),
        ("upgrade", lambda value: value.pop("entries"), "altered or truncated .entries: "),
        ("upgrade", put("entries", 0, "status", to="fine"), "altered or truncated .entries.0.status: "),
        ("upgrade", put("entries", 0, "status", to="unused"), "altered .counts are not those of its entries"),
        ("upgrade", lambda value: value["entries"].pop(), "altered .counts are not those of its entries"),
        ("upgrade", put("counts", to={}), "altered .counts are not those of its entries"),
        ("upgrade", put("compared", to=9), "altered .compared is not the sum of its entries"),
        ("upgrade", lambda value: value.pop("before"), "altered .its sides are not there"),
        ("baseline", put("document", to="upgrade"), "altered .its sides are not there"),
        ("upgrade", lambda value: changed_of(value).update(change=None), "altered .an entry that changed does not say"),
        ("upgrade", lambda value: changed_of(value)["change"]["divergence"][0].update(max_abs="wide"), "max_abs: "),
        ("matrix", put("releases", "\ud800", to={}), "altered or truncated .releases.\\?.why: "),
        ("upgrade", put("entries", 1, to=None), "entries.1: "),
        ("matrix", put("order", to=["1.0"]), "altered .order and releases name other releases"),
        ("matrix", put("compared", to=9), "altered .compared is not the sum of its releases"),
        ("bisect", put("last_same", to="0.1"), "altered .it tells of a release that it does not search"),
        ("bisect", put("first_changed", to="1.9"), "altered .first_changed is not the one suspect"),
    ],
)
def test_what_is_wrong_with_a_document_is_one_line(written, kind, edit, told):
    path = written(kind, edit)
    with pytest.raises(ParityError, match=told) as error:
        read_document(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_half_a_character_is_a_question_mark(written):
    (held,) = read_document(written("upgrade", put("entries", 0, "detail", to="broken \ud800"))).holdings
    assert held.entries[0].detail == "broken ?"


def test_an_entry_that_stands_twice_is_noticed(documents):
    value = deepcopy(documents["upgrade"])
    value["entries"].append(value["entries"][0])
    value["counts"][value["entries"][0]["status"]] += 1
    value["compared"] += value["entries"][0]["compared"]
    with pytest.raises(ParityError, match="an entry is there twice"):
        document_of(value, "made")


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "null", '"text"', NESTED, '{"a":' * 900 + "1" + "}" * 900])
def test_what_is_no_document_is_one_line(tmp_path, text):
    path = tmp_path / "upgrade.json"
    path.write_text(text)
    with pytest.raises(ParityError) as error:
        read_document(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    path = tmp_path / "upgrade.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ParityError, match="it is no JSON"):
        read_document(path)
    with pytest.raises(ParityError, match=r"nowhere\.json: cannot be read \(No such file or directory\)"):
        read_document(tmp_path / "nowhere.json")


def test_a_document_that_is_cut_anywhere_is_noticed(written, documents):
    whole = len(json.dumps(documents["matrix"]))
    for cut in random.Random(0).sample(range(whole), 40):
        with pytest.raises(ParityError):
            read_document(written("matrix", cut=cut))


def test_a_folder_has_one_document(tmp_path, written):
    folder = tmp_path / "kept"
    folder.mkdir()
    assert document_in(folder) is None
    with pytest.raises(ParityError, match="nothing of parity upgrade, matrix or bisect here"):
        read_document(folder)
    written("matrix").rename(folder / FILES["matrix"])
    assert read_document(folder).kind == "matrix"
    written("upgrade").rename(folder / FILES["upgrade"])
    with pytest.raises(ParityError, match=r"holds upgrade\.json and matrix\.json; name one of them"):
        read_document(folder)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/usr/bin/python3", "…/python3"),
        ("--package x: '/tmp/a b/c' and (/srv/wheels/x.whl)", "--package x: '…/a b/c' and (…/x.whl)"),
        ("-i /home/me/my_adam.py:run", "-i …/my_adam.py:run"),
        ("path=/home/me/x:/home/you/y", "path=…/x:…/y"),
        ("file:///home/me/wheels/x", "file://…/x"),
        ("https://example.org/adam/keras", "https://example.org/adam/keras"),
        ("runs/upgrade/before", "runs/upgrade/before"),
        ("u = (m / k1) / (sqrt(h) + eps); m/k1/k2", "u = (m / k1) / (sqrt(h) + eps); m/k1/k2"),
        ("</script><b/>", "</script><b/>"),
    ],
)
def test_folders_of_the_machine_are_left_out(text, left):
    assert without_folders(text) == left


def test_no_folder_of_a_document_is_read(documents, tmp_path):
    for value in documents.values():
        assert str(tmp_path.parent) not in repr(document_of(value, "made"))
    assert "/opt/secret" not in repr(document_of(documents["upgrade"], "made"))
    assert "/srv/wheels" not in repr(document_of(documents["matrix"], "made"))
