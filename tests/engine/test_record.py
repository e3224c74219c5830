"""run.json is what was written, or an error that says what is wrong with it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

import parity
from parity.api.run import make_plan
from parity.case.catalogue import shipped_cases
from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError
from parity.engine.power import read_power
from parity.engine.record import SCHEMA, read_run, record, write_run
from parity.engine.run import Options, execute

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


@pytest.fixture(scope="module")
def written(tmp_path_factory, case_text):
    """The directory of a real run."""
    folder = tmp_path_factory.mktemp("record")
    (folder / "small.toml").write_text(case_text())
    run = parity.run([folder / "small.toml"], PAIR, output=folder / "run")
    assert read_run(folder / "run") == run
    return folder / "run"


@pytest.fixture
def changed(written, tmp_path):
    """Write a run.json after `change` was made to its content, with its seal, without, or with a new one."""
    shutil.copy(written / "divergence.parquet", tmp_path)

    def write(change, seal="old"):
        content = json.loads((written / "run.json").read_text())
        change(content)
        if seal != "old":
            del content[SEAL]
        if seal == "new":
            content[SEAL] = seal_of(content)
        (tmp_path / "run.json").write_text(json.dumps(content, indent=3))
        return tmp_path

    return write


def test_white_space_and_the_order_of_keys_are_no_change(changed, written, tmp_path):
    run = read_run(changed(lambda content: content.update(dict(reversed(list(content.items()))))))
    write_run(run, tmp_path)
    assert (tmp_path / "run.json").read_text() == (written / "run.json").read_text()


def test_a_record_without_a_seal_is_refused(changed):
    with pytest.raises(ParityError, match=r"run\.json: altered after it was written"):
        read_run(changed(lambda content: None, seal="none"))


def test_nothing_of_the_table_stands_in_the_record_but_the_zeros_that_it_does_not_count(written):
    content = json.loads((written / "run.json").read_text())
    assert all(set(pair) == {"actual", "expected", "steps"} for cell in content["cells"] for pair in cell["pairs"])
    assert content["opposite_zeros"] == []


def test_distances_out_of_the_table_are_those_that_were_measured(write_case, write_adam, tmp_path):
    """Zeros of opposite sign, infinite distances, ties, several batches of steps, a side that fails half-way."""
    parameters = [{"name": "b", "shape": [3], "gradients": {"kind": "zero"}}, {"name": "a", "shape": [3]}]
    cases = [write_case(name, dtypes=["float32", "bfloat16"], steps=steps, parameters=parameters)
             for name, steps in (("one", 40), ("two", 1))]  # fmt: skip
    planted = {
        "nan": "if t == 3: w['a'] = w['a'] * np.float32('nan')",
        "zeros": "m['b'] = -m['b']",
        "fails": "if t == 4: raise RuntimeError('planted')",
    }
    adams = [write_adam(name, after=text) for name, text in planted.items()]
    run = parity.run(cases, [*adams, *PAIR], output=tmp_path / "run")
    again = read_run(tmp_path / "run")
    assert repr(again) == repr(run)
    distances = [one for cell in run.cells for pair in cell.pairs for one in pair.distances]
    assert any(one.worst_max_abs.value == float("inf") for one in distances)
    assert any(one.first is None for one in distances)
    assert any(one.opposite_zeros for one in distances)
    assert any(one.first is not None and one.first.step > 1 for one in distances)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["counts"].update(elements=1),
        lambda content: content["verdicts"][0]["verdict"].update(kind="IDENTICAL"),
        lambda content: content["cells"][0]["pairs"][0].update(steps=1),
        lambda content: content["opposite_zeros"].append(["small", "float32", *PAIR, "w", 1]),
        lambda content: content["environment"].update(python="3.0.0"),
        lambda content: content.update(stale=["something"]),
    ],
)
def test_a_value_altered_by_hand_breaks_the_seal(changed, change):
    with pytest.raises(ParityError, match=r"run\.json: altered after it was written \(its seal does not fit\)"):
        read_run(changed(change))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content["counts"].update(elements=1), "counts.elements 1, counted 255"),
        (lambda content: content["counts"].update(cells_planned=0), "1 cells of 0"),
        (
            lambda content: content["verdicts"][0]["verdict"].update(as_expected=False),
            "counts.as_expected 1, counted 0",
        ),
        (
            lambda content: content["verdicts"][0].update(case="other"),
            "a verdict on .* in other float32, ",
        ),
        (lambda content: content["cases"].clear(), "a cell small float32, which was not asked for"),
        (
            lambda content: content["cells"][0]["pairs"][0].update(actual="other"),
            "a pair other / numpy.adam.outside in small float32, which was not run",
        ),
        (
            lambda content: content["cells"][0]["outcomes"][0].update(formats={"m": {"a": "float80"}}),
            r"dtypes of numpy\.adam\.\w+ in small float32 that are none",
        ),
        (lambda content: content["environment"].clear(), "environment lacks python"),
        (lambda content: content["workers"]["numpy"].clear(), "workers.numpy lacks python"),
        (lambda content: content["cases"]["small"].clear(), "cases.small lacks summary"),
    ],
)
def test_what_contradicts_itself_is_refused_though_its_seal_fits(changed, change, told):
    with pytest.raises(ParityError, match=rf"altered, it contradicts itself \({told}"):
        read_run(changed(change, "new"))


@pytest.mark.parametrize(
    ("schema", "advice"), [(SCHEMA + 1, "parity '99.0' wrote it: update this one"),
                           (SCHEMA - 1, "parity '99.0' wrote it: make it again with 'parity run'")],
)  # fmt: skip
def test_another_schema_says_what_to_do_before_anything_else_is_looked_at(tmp_path, schema, advice):
    (tmp_path / "run.json").write_text(json.dumps({"schema": schema, "version": "99.0", "other": []}))
    told = f"run.json: schema {schema}; this parity reads schema {SCHEMA}; {advice}"
    with pytest.raises(ParityError, match=re.escape(told)):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00\x01", b"[" * 100_000, b"[1, 2]", b"{}", b'{"schema": "2"}']
)
def test_what_is_no_record_is_one_line(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ParityError, match=r"run\.json: (truncated or altered, no JSON|no record of a run)") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_killed_says_how_it_goes_on(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "small__float32.parquet").write_bytes(b"")
    with pytest.raises(ParityError, match=r"as where a run was killed; 'parity run --resume' goes on after its 1 c"):
        read_run(tmp_path)


def test_unlike_machines_stand_each_once(write_case, tmp_path):
    """What only one side says of its machine makes none of them another."""
    paths = [write_case(name) for name in ("a", "b", "c", "d")]
    plan = make_plan(paths, "", ["numpy.adam.hat", "numpy.adam.outside"], ["float32"], tmp_path)
    (tmp_path / "run").mkdir()
    progress = execute(plan, tmp_path / "run", Options(), lambda *_: None)
    own = progress.results[0].environments["numpy"]
    others = [own, {**own, "cpus": 96}, {**own, "machine": {"torch threads": 7}}, {**own, "cpus": 96}]
    results = tuple(
        replace(one, environments={"numpy": other}) for one, other in zip(progress.results, others, strict=True)
    )
    workers = record(plan, replace(progress, results=results), "0", read_power(shipped_cases())).workers
    assert workers == {"numpy": others[2], "numpy (2)": others[3]}
