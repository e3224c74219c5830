"""``parity atlas``: a page from what is recorded, in which nothing that was not recorded is the same."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from parity.api.atlas import atlas
from parity.baseline.document import Document, head
from parity.baseline.saving import Selection, save
from parity.baseline.side import Side, keep_side
from parity.case.catalogue import select_cases
from parity.core.errors import NothingCompared
from parity.engine.candidates import describe_plugin

By = pytest.importorskip("selenium.webdriver.common.by").By

HAT = (
    "f(hyper.lr_at(t)) * m_hat / (np.sqrt(v_hat) + f(hyper.eps))",
    "f(hyper.lr_at(t) * (1 - hyper.beta2**t) ** 0.5 / (1 - hyper.beta1**t)) * m[name]"
    " / (np.sqrt(v[name]) + f(hyper.eps))",
)
LACKS = "adams<hook & crook>"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, adam_text, case_text):
    """Four releases of two Adams: what `parity matrix` keeps of them, though no environment was built.

    `turning` moves epsilon in 2.0 and comes to float64 in 1.1; `steady` changes nothing, and 1.0 lacks it.
    """
    home = tmp_path_factory.mktemp("recorded")
    case = home / "small.toml"
    case.write_text(case_text(dtypes=["float32", "float64"]))
    (home / "turning.py").write_text("")
    folder = home / "adams"
    releases = {"1.0": (), "1.1": (), "2.0": (HAT,), "2.1": (HAT,)}
    command = ("parity", "matrix", "--package", "adams", "--versions", ",".join(["0.9", *releases]), str(case))
    for release, swap in releases.items():
        targets = []
        for name, swapped in (("turning", swap), ("steady", ())):
            if name == "turning" or release != "1.0":
                (home / f"{name}.py").write_text(adam_text(name, swap=swapped))
                targets.append(describe_plugin(f"{home / name}.py:{name}", home / "logs", 60.0))
        dtypes = ("float32",) if release == "1.0" else ("float64", "float32")
        selection = Selection(select_cases([case]), tuple(targets), dtypes)
        root = folder / "releases" / release
        baseline, failed = save(selection, root)
        unmet = {"user.steady": (LACKS,) if release == "1.0" else (), "user.turning": ()}
        side = Side(f"adams=={release}", baseline, {"adams": release, "numpy": "2.0"}, (), unmet, failed)
        keep_side(side, root)
    told = {
        **head(Document.MATRIX, command),
        "finished": True,
        "package": "adams",
        "releases": {"0.9": {"why": "--package adams==0.9: there is no such release"}},
    }
    (folder / "matrix.json").write_text(json.dumps(told))
    return folder


def test_a_moment_in_a_wider_format_is_named(tmp_path, write_case, write_adam):
    """As NumPy 2 makes one of float32 where a scalar is of float64."""
    case, folder = write_case(), tmp_path / "numpy"
    for release, wide in (("1.26", False), ("2.0", True)):
        first = "m = {name: one.astype(np.float64) for name, one in m.items()}" if wide else "pass"
        target = write_adam("plugin", swap=[("w[name] = w[name] - ", "w[name][...] -= ")], first=first)
        plugin = describe_plugin(target, tmp_path / "logs", 60.0)
        root = folder / "releases" / release
        baseline, failed = save(Selection(select_cases([case]), (plugin,), ("float32",)), root)
        keep_side(Side(f"numpy=={release}", baseline, {}, (), {"user.plugin": ()}, failed), root)
    command = ("parity", "matrix", "--package", "numpy", "--versions", "1.26,2.0", str(case))
    told = {**head(Document.MATRIX, command), "package": "numpy"}
    (folder / "matrix.json").write_text(json.dumps(told))
    (one,) = atlas([folder], tmp_path / "page").lines
    ((reason, count),) = one.found[0].reasons
    assert (reason.split(";")[0], count) == ("m went from 32 to 64 bits", 1)
    assert "m went from 32 to 64 bits" in (tmp_path / "page" / "atlas.md").read_text()


@pytest.fixture
def line(recorded, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(recorded, tmp_path / "adams")


def rows(text, first):
    return [line for line in text.splitlines() if line.startswith(f"| {first}")]


def test_every_release_stands_against_the_one_before_it(recorded, command, tmp_path):
    out = tmp_path / "page"
    code, told, err = command("atlas", recorded, "-o", out, "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert told.splitlines()[:2] == [str(out / "atlas.md"), str(out / "atlas.html")]
    assert told.splitlines()[2].startswith(
        "4 releases on 1 line, 3 steps from one to the next: 2 changed no bit, 1 did, or could not be told; "
    )
    answer = json.loads((tmp_path / "a.json").read_text())["lines"]["adams"]
    assert answer["order"] == ["0.9", "1.0", "1.1", "2.0", "2.1"]
    assert answer["same_since"] == {
        "user.turning": {"float64": "2.0", "float32": "2.0"},
        "user.steady": {"float64": "1.1", "float32": "1.1"},
    }
    assert {name: one["exit_code"] for name, one in answer["steps"].items()} == {"1.1": 1, "2.0": 1, "2.1": 0}
    assert answer["stations"]["1.0"]["side"]["packages"] == {"adams": "1.0", "numpy": "2.0"}
    text = (out / "atlas.md").read_text()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows(text, "user.")]
    assert ["user.steady", "not recorded", "none", "+ 2", "= 2", "= 2", "1.1"] in cells
    (turning,) = [one for one in cells if one[0] == "user.turning"]
    assert turning[1:4] == ["not recorded", "1 entry", "= 1, + 1"]
    assert turning[4].startswith("≠ 2 of 2, ")
    assert turning[5:] == ["= 2", "2.0"]
    (overview,) = rows(text, "adams | user.turning")
    assert "1.0 to 2.1 (4)" in overview
    assert "2.0 (float64, float32)" in overview
    assert "formula: epsilon-placement" in overview
    changed = rows(text, "1.1 → 2.0")
    assert len(changed) == 2
    assert all("| formula |" in row and "epsilon-placement" in row for row in changed)
    assert len(rows(text, "2.0 → 2.1") + rows(text, "1.0 → 1.1")) == 0
    assert "| 0.9 |  | not recorded: --package adams==0.9: there is no such release |" in text
    assert "| 1.0 | user.steady | adams&lt;hook &amp; crook&gt; |" in text
    assert "- again: `parity matrix --package adams --versions 0.9,1.0,1.1,2.0,2.1" in text


def test_what_was_not_recorded_yet_is_never_the_same(line):
    """As it is when `parity matrix` was killed before 2.0 was recorded."""
    told = json.loads((line / "matrix.json").read_text())
    unfinished = {**told, "finished": False, "asked": {"package": "adams"}}
    del unfinished["package"], unfinished["releases"]
    (line / "matrix.json").write_text(json.dumps(unfinished))
    (line / "releases" / "2.0" / "side.json").unlink()
    (found,) = atlas([line], line.parent / "page").lines
    assert [*found.lineage.steps] == ["1.1", "2.1"]
    assert {one.implementation: dict(one.since) for one in found.rows}["user.turning"] == {
        "float64": "2.1",
        "float32": "2.1",
    }
    text = (line.parent / "page" / "atlas.md").read_text()
    assert "| 2.0 |  | not recorded: it was not recorded yet |" in text
    assert [row.split("|")[5].strip() for row in rows(text, "user.")] == ["not recorded", "not recorded"]
    assert len(rows(text, "1.1 → 2.1")) == 2
    for release in ("1.1", "2.1"):
        (line / "releases" / release / "side.json").unlink()
    with pytest.raises(NothingCompared, match="no two releases are recorded in "):
        atlas([line])


@pytest.mark.parametrize(
    ("damage", "code", "told"),
    [
        (lambda line: (line / "matrix.json").unlink(), 4, "adams: nothing of them is here; allowed: "),
        (lambda line: (line / "matrix.json").write_text("{"), 4, "matrix.json: truncated or altered ("),
        (lambda line: (line / "matrix.json").write_text("[]"), 4, "truncated or altered (it is no object)"),
        (lambda line: (line / "matrix.json").write_text("{}"), 4, "matrix.json: truncated or altered, or of an older"),
        (lambda line: (line / "upgrade.json").write_text("{}"), 4, "adams: holds upgrade.json and matrix.json"),
        (lambda line: (line / "releases/1.1/side.json").write_text("{"), 4, "side.json: truncated or altered ("),
        (
            lambda line: (line / "releases/1.1/side.json").write_text('{"schema": 99}'), 4,
            "side.json: schema 99; this parity reads 1",
        ),
        (lambda line: next(line.glob("releases/1.1/*/*.xz")).write_bytes(b""), 4, "truncated or altered ("),
    ],
)  # fmt: skip
def test_damage_is_one_line(line, command, tmp_path, damage, code, told):
    damage(line)
    found, out, err = command("atlas", line, "-o", tmp_path / "page")
    assert (found, out, err.count("\n")) == (code, "", 1), err
    assert told in err
    assert not (tmp_path / "page").exists()


def test_a_mistake_is_one_line(line, recorded, command, tmp_path):
    code, out, err = command("atlas", line, recorded, "-o", tmp_path / "page")
    assert (code, out) == (2, "")
    assert "two folders are called 'adams'" in err
    (tmp_path / "file").write_text("")
    code, out, err = command("atlas", line, "-o", tmp_path / "file")
    assert (code, err) == (2, f"parity: -o {tmp_path / 'file'}: is a file, not a folder\n")
    assert command("atlas")[0] == 2


@pytest.fixture
def page(recorded, tmp_path):
    atlas([recorded], tmp_path / "page")
    return tmp_path / "page" / "atlas.html"


@pytest.mark.timeout(600)
def test_the_page_stands_alone_and_leads_to_what_changed(page, recorded, visit, asked_for, fits):
    browser = visit(page)
    text = page.read_text()
    assert str(recorded.parent) not in text.replace(str(recorded.parent / "small.toml"), "")
    assert "adams&lt;hook &amp; crook&gt;" in text
    # A name may go on in another line after a dot, a number may not.
    assert "numpy.<wbr>adam" in text or "user.<wbr>" in text
    assert re.search(r"[.]<wbr>[0-9]", text) is None
    (field,) = [
        one for one in browser.find_elements(By.CSS_SELECTOR, "table.atlas td a") if one.text.startswith("≠ 2 of 2")
    ]
    target = field.get_attribute("href").partition("#")[2]
    field.click()
    opened = browser.find_elements(By.CSS_SELECTOR, f"details.pair[open][id={target}]")
    assert [one.is_displayed() for one in opened] == [True]
    assert "epsilon" in opened[0].text
    assert browser.get_log("browser") == []
    assert asked_for() <= {"about", "file", "data"}
    for name, look in (("wide", {}), ("narrow", {"width": 390, "height": 800}), ("dark", {"theme": "dark"})):
        visit(page, **look)
        fits(name)
