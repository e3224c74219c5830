"""``parity baseline``: what a change, a missing entry and other inputs look like, and what leaves which exit code."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from parity.engine.candidates import REFERENCE

# Epsilon as Keras has it: added to sqrt(v), as if it were divided by sqrt(1 - beta2^t) at every step.
HAT = [("(np.sqrt(v_hat) + f(hyper.eps))", "(np.sqrt(v_hat) + f(hyper.eps / (1 - hyper.beta2**t) ** 0.5))")]


@pytest.fixture
def baseline(command, tmp_path, write_case, write_adam):
    """A baseline of a plug-in and its reference; then call ``parity baseline check`` with more arguments."""
    case, target, root = write_case(), write_adam(), tmp_path / "baselines"
    code, out, err = command("baseline", "save", case, "-i", target, "-o", root, "-q")
    assert (code, err) == (0, "")
    assert "2 entries in 1 cells" in out

    def check(*arguments):
        answer = tmp_path / "answer.json"
        code, out, _ = command("baseline", "check", case, "-i", target, "-o", root, "-q", "--json", answer, *arguments)
        return code, out, json.loads(answer.read_text())

    check.root, check.case, check.target = root, case, target
    return check


def of(answer, name="user.plugin"):
    return next(one for one in answer["entries"] if one["implementation"] == name)


def test_the_same_bits_are_identical(baseline):
    code, out, answer = baseline()
    assert code == 0
    assert answer["counts"]["identical"] == len(answer["entries"]) == 2
    # 5 steps and the initial state, of w, m and v.
    assert answer["compared"] == 2 * 3 * 6
    assert "2 identical; 36 digests of steps compared" in out
    assert answer["environment"] == []


def test_a_change_is_told_with_its_step_its_size_and_its_cause(baseline, write_adam):
    write_adam(swap=[("hyper.beta1**t", "hyper.beta1**(t if t < 3 else 2)")])
    code, _, answer = baseline()
    found = of(answer)
    assert (code, found["status"]) == (1, "changed")
    change = found["change"]
    assert (change["first_step"], change["quantities"]) == (3, ["w"])
    assert not change["explained"]
    rows = {(one["quantity"], one["step"]): one for one in change["divergence"] if one["parameter"] == "kernel"}
    assert [step for quantity, step in rows if quantity == "w"] == [1, 2, 4, 5]
    assert rows["w", 2]["differing"] == 0
    assert rows["w", 4]["differing"] == 12
    assert all(one["differing"] == 0 for (quantity, _), one in rows.items() if quantity != "w")
    new, old = (float.fromhex(rows["w", 4][side]) for side in ("actual_value", "expected_value"))
    assert 0 < abs(new - old) <= float.fromhex(rows["w", 4]["max_abs"])
    assert of(answer, REFERENCE)["status"] == "identical"


def test_where_both_are_known_the_choice_that_changed_is_named(command, tmp_path, write_case):
    """An implementation's place is taken by another of the same name: the plain Adam, then the one with hat epsilon."""
    from parity.baseline.store import read_baseline, write_baseline

    case, root = write_case(gradients={"kind": "bell", "scale": 1e-6}), tmp_path / "baselines"
    assert command("baseline", "save", case, "-i", "numpy.adam.hat", "-i", "numpy.adam.outside", "-o", root)[0] == 0
    (folder,) = root.iterdir()
    saved = read_baseline(folder)
    entries = saved.entries("small", "float32")
    pretended = [replace(entries["numpy.adam.outside"], implementation="numpy.adam.hat"), entries["numpy.adam.outside"]]
    write_baseline(root, [tuple(pretended)], saved)
    answer = tmp_path / "answer.json"
    code, out, _ = command("baseline", "check", case, "-i", "numpy*", "-o", root, "--json", answer)
    found = of(json.loads(answer.read_text()), "numpy.adam.hat")
    assert (code, found["status"]) == (1, "changed")
    assert found["change"]["explained"]
    assert "epsilon-placement" in [cause["family"] for cause in found["change"]["causes"]]
    assert "epsilon-placement: outside -> hat" in " ".join(out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"steps": 7}, "7 steps, 5 in the baseline"),
        ({"seed": 8}, "other weights or gradients than in the baseline"),
        ({"hyper": {"lr": 0.002}}, "lr 0.002, 0.001 in the baseline"),
    ],
)
def test_another_question_says_nothing_of_the_framework(baseline, write_case, keys, told):
    write_case(**keys)
    code, _, answer = baseline()
    assert code == 1
    assert answer["counts"]["inputs changed"] == 2
    assert answer["compared"] == 0
    assert all(told in one["detail"] and one["change"] is None for one in answer["entries"])


def test_what_is_missing_fails_and_is_written_beside(baseline, write_case, command, tmp_path):
    write_case(dtypes=["float32", "float64"])
    code, _, answer = baseline()
    assert code == 1
    assert [one["status"] for one in answer["entries"] if one["dtype"] == "float64"] == ["missing", "missing"]
    obtained = tmp_path / "baselines.obtained"
    told = tmp_path / "obtained.json"
    assert command("baseline", "list", "-o", obtained, "--json", told)[0] == 0
    assert [one["entries"] for one in json.loads(told.read_text())] == [2]
    # It stays missing until it is asked to be taken over, which is told once more.
    assert baseline()[0] == 1
    assert baseline("--update")[0] == 1
    code, _, answer = baseline()
    assert (code, answer["counts"]["identical"]) == (0, 4)


def test_a_renamed_case_is_missing_under_its_new_name_and_unused_under_its_old(baseline, command, tmp_path):
    renamed = baseline.case.rename(tmp_path / "renamed.toml")
    answer = tmp_path / "answer.json"
    arguments = ("-i", baseline.target, "-o", baseline.root, "-q", "--json", answer)
    assert command("baseline", "check", renamed, *arguments)[0] == 1
    statuses = [one["status"] for one in json.loads(answer.read_text())["entries"]]
    assert statuses == ["missing", "missing"]


def test_what_nothing_asks_for_is_told_and_fails_nothing(baseline, command, tmp_path):
    answer = tmp_path / "answer.json"
    arguments = ("-d", "float32", "-o", baseline.root, "-q", "--json", answer)
    assert command("baseline", "check", baseline.case, "-i", REFERENCE, *arguments)[0] == 0
    assert [one["status"] for one in json.loads(answer.read_text())["entries"]] == ["identical"]


def test_one_that_no_longer_ends_fails(baseline, write_adam):
    write_adam(before="if t == 3: raise RuntimeError('planted')")
    code, _, answer = baseline()
    found = of(answer)
    assert (code, found["status"]) == (1, "failed")
    assert "planted" in found["detail"]


def test_saving_twice_needs_a_flag(baseline, command):
    arguments = ("baseline", "save", baseline.case, "-i", baseline.target, "-o", baseline.root, "-q")
    code, _, err = command(*arguments)
    assert code == 4
    assert "this environment has a baseline already; --update replaces it" in err
    assert err.count("\n") == 1
    assert command(*arguments, "--update")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("check", "-o", "nowhere"), 4, "nowhere: no baseline here"),
        (("list", "-o", "nowhere"), 4, "nowhere: no baseline here"),
        (("diff", "nowhere", "nowhere"), 4, "nowhere: no baseline here"),
        (("save", "-d", "float8"), 4, "float8"),
        (("save", "-k", "nothing-is-called-so"), 5, "nothing to record"),
        (("save", "-i", "numpy.adam.hatt"), 4, "did you mean 'numpy.adam.hat'?"),
        (("chek",), 2, "chek"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    found, out, err = command("baseline", *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert told in err


def test_two_baselines_are_held_against_each_other_without_running_anything(baseline, command, write_adam, tmp_path):
    write_adam(swap=HAT)
    other = tmp_path / "other"
    assert command("baseline", "save", baseline.case, "-i", baseline.target, "-o", other, "-q")[0] == 0
    answer, summary = tmp_path / "answer.json", tmp_path / "summary.md"
    code, _, _ = command("baseline", "diff", baseline.root, other, "--json", answer, "--markdown", summary)
    found = json.loads(answer.read_text())
    assert code == 1
    assert {one["implementation"]: one["status"] for one in found["entries"]} == {
        "user.plugin": "changed",
        REFERENCE: "identical",
    }
    assert of(found)["change"]["first_step"] == 1
    text = summary.read_text()
    assert "| user.plugin | float32 | changed | 1 of 1 | small, from step 1; both are known to the last bit" in text
    assert "Exit code 1." in text
    assert command("baseline", "diff", other, other, "-q")[0] == 0


def test_listing_imports_no_framework(baseline, process):
    code = "import sys; from parity.cli.main import exit_code; exit_code(sys.argv[1:]); print(sorted(sys.modules))"
    one = process("baseline", "list", "-o", baseline.root, code=code)
    out, err = one.communicate(timeout=60)
    assert (one.returncode, err) == (0, "")
    assert "'parity.baseline.store'" in out
    assert not {f"'{name}'" for name in ("torch", "tensorflow", "keras", "jax", "optax")} & set(
        out.split("[")[-1].split(", ")
    )


def test_a_save_of_which_something_crashed_is_not_green(command, tmp_path, write_case, write_adam):
    """What came to its end is kept, and what did not is told."""
    target, root = write_adam(before="if t == 3: raise ValueError('planted')"), tmp_path / "baselines"
    code, out, _ = command("baseline", "save", write_case(), "-i", target, "-i", REFERENCE, "-o", root, "-q")
    assert code == 1
    assert "not kept: user.plugin on small in float32: step 3: ValueError: planted" in " ".join(out.split())
    assert "1 entries in 1 cells" in out
    unsupported = write_adam(first="raise Unsupported('no such kernel')")
    arguments = ("baseline", "save", write_case(), "-i", unsupported, "-i", REFERENCE, "-o", root, "-q", "--update")
    assert command(*arguments)[0] == 0


def test_a_check_groups_what_changed_alike(baseline, command, write_adam, write_case, tmp_path):
    """One line for all cases of an implementation and dtype, and the farthest change as a table."""
    cases, root = [write_case("one"), write_case("two", seed=8)], tmp_path / "both"
    arguments = (*cases, "-i", baseline.target, "-o", root)
    assert command("baseline", "save", *arguments, "-q")[0] == 0
    write_adam(swap=[("hyper.beta1**t", "hyper.beta1**(t if t < 3 else 2)")])
    code, out, _ = command("baseline", "check", *arguments)
    shown = " ".join(out.replace("│", " ").split())
    assert code == 1
    assert "2 entries to look at" in shown
    assert "user.plugin float32 changed 2 of 2 one, two, from step 3; most in " in shown
    assert out.count("new against old") == 1
    assert command("baseline", "check", *arguments, "-v")[1].count("new against old") == 2
