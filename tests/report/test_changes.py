"""What changed, in sentences, in Markdown and as a page: what it says, and what it never says as markup."""

from __future__ import annotations

from copy import deepcopy
from html.parser import HTMLParser

import pytest

from parity.report.changes import answer, details, ranged, section
from parity.report.html import changing
from parity.report.html.documents import render_changes
from parity.report.panels.changes import changes_of
from parity.report.panels.documents import document_of

NASTY = "</script><script>alert('a & b')</script><b/x/y>"
KINDS = ("upgrade", "matrix", "bisect", "baseline")
VOID = {"meta", "link", "br", "wbr"}


class Tags(HTMLParser):
    """Counts elements and sees that each is closed where it should be; collects ids and where links lead."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.ids, self.links = [], {}, [], []

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attributes:
            self.ids += [value] if name == "id" else []
            self.links += [value] if name in ("href", "src") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


@pytest.fixture
def changes(documents):
    """What follows from a document, edited."""

    def make(kind="upgrade", edit=lambda value: None):
        value = deepcopy(documents[kind])
        edit(value)
        return changes_of(document_of(value, "made"))

    return make


def flat(text):
    return " ".join(text.split())


def only(status, held):
    """Of a holding, the entries of one status."""
    held["entries"] = [one for one in held["entries"] if one["status"] == status]
    held["counts"] = {status: len(held["entries"])}
    held["compared"] = sum(one["compared"] for one in held["entries"])
    held["exit_code"] = int(status != "identical")


def test_the_answer_of_an_upgrade_is_a_sentence(changes):
    found = changes()
    assert answer(found) == "adams 1.0 to 2.0: 1 of 6 entries changed."
    told = list(details(found))
    assert told[0].startswith("user.plugin on small in float32 changed most: w by ")
    assert told[0].endswith(" ULP), from step 1 on.")
    assert told[1:] == [
        "It is explained to the last bit.",
        "2 entries had nothing to be held against (missing).",
        "2 entries gave no trace now (failed).",
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("identical", "adams 1.0 to 2.0: all 18 digests are the same."),
        ("missing", "adams 1.0 to 2.0: nothing was compared, of 2 entries."),
        ("changed", "adams 1.0 to 2.0: 1 of 1 entry changed."),
    ],
)
def test_the_answer_where_all_entries_have_one_fate(changes, status, told):
    found = changes("upgrade", lambda value: only(status, value))
    assert answer(found) == told
    page = flat(render_changes(found))
    assert ("✓" in page) == (status == "identical")
    assert ('class="lead fine"' in page) == (status == "identical")
    assert ('id="changes"' in page) == (status == "changed")
    assert ('id="untold"' in page) == (status == "missing")


def test_what_could_not_be_told_is_said_in_the_answer_though_nothing_changed(changes):
    def lost(value):
        value["entries"] = [one for one in value["entries"] if one["status"] != "changed"]
        value["counts"].pop("changed")
        value["compared"] = sum(one["compared"] for one in value["entries"])

    found = changes("upgrade", lost)
    assert answer(found).endswith(
        "what was compared is the same (all 18 digests), and of 4 of 5 entries nothing can be told."
    )
    assert 'class="lead alarm"' in render_changes(found)


def test_the_answer_of_a_matrix_names_releases_by_what_became_of_them(changes):
    told = "adams: 1 of 3 releases is the same as 2.0 (1.9); 1.0 changed; of 1.5 nothing can be told."
    assert answer(changes("matrix")) == told


def test_a_matrix_in_which_all_is_the_same(changes):
    def same(value):
        for release in ("1.0", "1.5"):
            value["releases"].pop(release)
            value["order"].remove(release)
        value["compared"] = value["releases"]["1.9"]["held"]["compared"]
        value["exit_code"] = 0

    found = changes("matrix", same)
    assert answer(found) == f"adams: the one release is the same as 2.0, all {found.compared} digests."
    assert 'class="lead fine"' in render_changes(found)


def test_a_matrix_of_which_nothing_can_be_told(changes):
    def nothing(value):
        for one in value["releases"].values():
            one.update(held=None, why="there is no index")
        value["compared"] = 0

    found = changes("matrix", nothing)
    assert answer(found) == "adams: none of 3 releases is the same as 2.0; of 1.0 to 1.9 nothing can be told."
    text = render_changes(found)
    parsed(text)
    assert text.count("there is no index") == 3
    assert "nothing was held" in text


def test_a_release_in_which_not_everything_can_be_told(changes):
    found = changes("matrix", lambda value: lose(value["releases"]["1.0"]["held"], value))
    assert "; of 1.0 not everything can be told; of 1.5 nothing can be told." in answer(found)


def lose(held, matrix):
    matrix["compared"] -= held["compared"]
    only("missing", held)


@pytest.mark.parametrize(
    ("releases", "told"),
    [(["1", "2"], "1, 2"), (["1", "2", "3"], "1 to 3"), (["1", "2", "4"], "1, 2, 4"), (["2"], "2")],
)
def test_releases_in_a_row_are_named_by_the_ends(releases, told):
    assert ranged(releases, ["1", "2", "3", "4"]) == told


def test_the_answer_of_a_search(changes):
    found = changes("bisect")
    assert answer(found) == (
        "adams: one of 1.5, 1.9 is the first release that changes, and nobody can tell which; 1.0 is the last that is "
        "the same."
    )
    assert list(changing.search_rows(found.document.content)) == [
        ("1.0", "= same", "the good one"),
        ("1.5", "? cannot tell", "it <hangs>"),
        ("1.9", "≠ changed", "other bits"),
        ("2.0", "≠ changed", "the bad one"),
    ]

    def known(value):
        value.update(suspects=["1.9"], first_changed="1.9", last_same="1.5", exit_code=0)

    found = changes("bisect", known)
    assert answer(found) == "adams 1.9 is the first release that changes; 1.5 is the last before it."
    assert ("1.9", "≠ changed, the first", "other bits") in changing.search_rows(found.document.content)


def test_a_search_that_a_users_own_test_decided_has_no_figures(changes):
    text = render_changes(changes("bisect", lambda value: value.update(step=None)))
    parsed(text)
    assert 'id="map"' not in text
    assert "a test of the user, by its exit code" in text
    assert "it &lt;hangs&gt;" in text


def test_the_answer_of_a_baseline(changes):
    found = changes("baseline")
    assert answer(found) == f"baseline {found.document.content.baseline}: 1 of 6 entries changed."


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_its_links_lead_somewhere_and_it_fetches_nothing(changes, kind):
    found = changes(kind)
    text = render_changes(found)
    tags = parsed(text)
    assert len(set(tags.ids)) == len(tags.ids)
    assert {one for one in tags.links if not one.startswith("data:")} <= {f"#{one}" for one in tags.ids}
    assert any(one.startswith("#change-0-") for one in tags.links)
    assert render_changes(found) == text


def test_dtypes_of_which_the_same_cannot_be_told_share_a_row_that_every_field_leads_to(changes):
    def alike(value):
        for one in value["entries"]:
            if one["status"] == "failed":
                one.update(status="missing", detail="only after: not there before")
        value["counts"].update(failed=0, missing=4)

    found = changes("upgrade", alike)
    rows = changing.untold_rows(found)
    assert [(one.implementation, one.dtypes, one.entries) for one in rows] == [
        ("numpy.adam.outside", "float64, float16", "2 of 2"),
        ("user.plugin", "float64, float16", "2 of 2"),
    ]
    tags = parsed(render_changes(found))
    assert {f"change-0-{number}" for number in found.places.values()} <= set(tags.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_both_values_the_cause_and_the_environment_beside_them(changes, kind):
    found = changes(kind, lambda value: plant(value, "1.25"))
    text = render_changes(found)
    row = found.changed[0].group.worst.change.worst[0]
    block = flat(
        text[
            text.index(f'id="change-0-{found.changed[0].number}"') : text.index(
                "Values that moved" if 0 else "</details>"
            )
        ]
    )
    for told in (row.actual_value, row.expected_value, "epsilon-placement", "numpy 1.25 → 2.2"):
        assert told in block


def plant(value, numpy):
    """Another NumPy before, for every entry."""
    match value["document"]:
        case "matrix":
            held = value["releases"]["1.0"]["held"]
        case "bisect":
            held = value["step"]
        case _:
            held = value
    for one in held["entries"]:
        one["environment"] = [{"what": "numpy", "before": numpy, "after": "2.2"}]


FIGURES = {"status", "answer", "document", "max_abs", "max_steps", "actual_value", "expected_value"}


def hostile(value):
    """The same document with something nasty at the end of every name and reason."""
    for key, one in [*value.items()]:
        value[key] = nasty(one) if key not in FIGURES else one
        if key in ("releases", "packages") and isinstance(value[key], dict):
            value[key] = {f"{name}{NASTY}": held for name, held in value[key].items()}


def nasty(value):
    match value:
        case str():
            return f"{value}{NASTY}" if value else ""
        case list():
            return [nasty(one) for one in value]
        case dict():
            hostile(value)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_of_a_document_stays_text(changes, kind):
    plain, nasty = (render_changes(changes(kind, edit)) for edit in (lambda value: None, hostile))
    # A dot in a name may be followed by another line: nothing else is added.
    assert parsed(nasty).count == parsed(plain).count
    assert "alert('a & b')" not in nasty
    assert "alert(&#39;a &amp; b&#39;)" in nasty


@pytest.mark.parametrize("kind", KINDS)
def test_no_folder_stands_in_a_page_or_in_markdown(changes, kind, sides):
    found = changes(kind)
    for text in (render_changes(found), section([found])):
        assert str(sides[0].baseline.folder.parent) not in text
        assert "/opt/secret" not in text
        assert "/srv/wheels" not in text
    if kind == "upgrade":
        assert "parity upgrade --before adams==1.0 --after-python &#39;…/python&#39;" in render_changes(found)


def test_markdown_has_the_answer_the_environments_and_every_group(changes):
    text = section([changes("upgrade", lambda value: plant(value, "1.25")), changes("matrix")])
    assert text.startswith("## Upgrades and baselines\n\n**adams 1.0 to 2.0: 1 of 6 entries changed.** user.plugin on ")
    assert "| user.plugin | float32 | changed | 1 of 1 | small, from step 1; most in small, w by " in text
    assert "| user.plugin | float32 | 1.0 | changed | 1 of 1 | small, from step 1" in text
    assert "- 1.5: no …/it here" in text
    assert "36 digests were compared." in text
    assert section([]) == ""


def test_markdown_of_a_hostile_document_is_no_markup(changes):
    text = section([changes(kind, hostile) for kind in KINDS])
    assert "<script" not in text
    assert "<hangs>" not in text


def test_rows_of_an_entry_are_not_endless(changes):
    def many(value):
        moved = next(one for one in value["entries"] if one["change"])
        rows = [one for one in moved["change"]["divergence"] if one["differing"]]
        moved["change"]["divergence"] = [{**rows[0], "step": step} for step in range(1, 5_001)]

    text = render_changes(changes("upgrade", many))
    assert text.count('<td class="hex">') == 2 * changing.ROWS
    assert f"{5_000 - changing.ROWS:,} more stand in the JSON" in text
