"""`pytest cases/`: what is collected, what is selected, what is run."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.thorough


PAIR = "small[float32-numpy.adam.hat-numpy.adam.outside]"


def collected(result):
    return [line for line in result.outlines if "::" in line]


def test_an_item_for_every_case_dtype_and_pair(case, session):
    case(dtypes=["float64", "float32"])
    result = session("cases", "--collect-only", "-q")
    assert collected(result) == [
        "cases/small.toml::small[float64-numpy.adam.hat-numpy.adam.outside]",
        f"cases/small.toml::{PAIR}",
    ]
    assert result.ret == 0


def test_the_members_of_a_sweep_are_cases(case, session):
    case("eps", sweep={"eps": [1e-8, 1e-2]})
    result = session("cases/eps.toml", "--collect-only", "-q")
    pair = "float32-numpy.adam.hat-numpy.adam.outside"
    assert collected(result) == [
        f"cases/eps.toml::eps[eps=1e-08][{pair}]",
        f"cases/eps.toml::eps[eps=0.01][{pair}]",
    ]


@pytest.mark.parametrize(
    ("selection", "passed"),
    [
        (("-k", "float64"), 1),
        (("-k", "numpy.adam.hat and float32"), 1),
        (("-k", "small"), 2),
        (("-m", "parity_float64"), 1),
        (("-m", "parity_numpy and not parity_float64"), 1),
        (("-m", "parity_numpy_adam_hat"), 2),
        (("-m", "parity(dtype='float32')"), 1),
        (("--strict-markers", "-m", "parity"), 2),
        ((f"cases/small.toml::{PAIR}",), 1),
    ],
)
def test_selection(case, session, selection, passed):
    case(dtypes=["float64", "float32"])
    folder = () if "::" in selection[0] else ("cases",)
    result = session(*folder, *selection)
    result.assert_outcomes(passed=passed, deselected=2 - passed if folder else 0)
    assert result.ret == 0


@pytest.mark.parametrize(
    "spread",
    [(), pytest.param(("-n", "2"), marks=pytest.mark.exhaustive), ("-n", "2", "--dist", "loadgroup")],
    ids=["plain", "two", "grouped"],
)
def test_a_cell_is_run_once_for_all_its_pairs(case, counted, session, spread):
    """However the pairs are spread; the module is imported once in a process of the session."""
    apart = {"actual": "user.*", "expected": "numpy.adam.*", "verdict": "DIVERGED", "because": "Nothing is claimed."}
    same = {**apart, "expected": "numpy.adam.outside", "verdict": "WITHIN", "rounding": "operations"}
    for name in ("one", "two"):
        case(name, expect=[same, apart])
    numpy = [f"--parity-implementations=numpy.adam.{one}" for one in ("outside", "hat", "inside")]
    result = session("cases", "--parity-implementations=mine.py:mine", *numpy, "--no-parity-explain", *spread)
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    imported, ran = counted()
    assert len(ran) == 2
    # One process to describe it for each that collects (xdist's controller checks too), and the workers that run it.
    describing = 3 if spread else 1
    assert len(imported) - describing == len(set(ran)) <= (2 if spread else 1)


def test_what_is_not_selected_is_not_run(case, counted, session):
    case()
    result = session("cases", "--parity-implementations=mine.py:mine", "--parity-implementations=numpy.*", "-k", "hat")
    result.assert_outcomes(passed=1, deselected=1)
    assert counted()[1] == []


def test_only_cases_are_collected(case, pytester, session):
    case("_base")
    path = case("real")
    path.write_text("#:schema nowhere.json\n" + path.read_text())
    (pytester.path / "cases" / "project.toml").write_text('[project]\nname = "x"\n[tool.y]\nsteps = 1\nseed = 2\n')
    (pytester.path / "cases" / "broken.toml").write_text("= = =\n")
    result = session("cases", "--collect-only", "-q")
    assert [line.partition("::")[0] for line in collected(result)] == ["cases/real.toml"]
    assert result.ret == 0


@pytest.mark.parametrize("key", ["stepps", "why"])
def test_a_case_with_an_error_is_one_line(case, session, key):
    """A misspelt key does not make a file something else than a case."""
    path = case("bad")
    path.write_text(path.read_text().replace("steps =", "stepps =") if key == "stepps" else "\n".join(
        line for line in path.read_text().splitlines() if not line.startswith("why")
    ))  # fmt: skip
    case("good")
    result = session("cases")
    told = "unknown key 'stepps'; allowed: " if key == "stepps" else "why: this key is missing"
    result.stdout.fnmatch_lines([f"*cases/bad.toml: {told}*", "ERROR cases/bad.toml*"])
    assert "Traceback" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_file_that_is_named_is_taken_for_a_case(pytester, session):
    (pytester.path / "other.toml").write_text("x = 1\n")
    result = session("other.toml")
    result.stdout.fnmatch_lines(["*other.toml: unknown key 'x'; allowed: *"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_two_cases_of_one_name_are_refused(case, session):
    case(folder="one")
    case(folder="two")
    result = session("one", "two")
    result.stderr.fnmatch_lines(["*two cases are called 'small': */one/small.toml and */two/small.toml; rename one"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_nothing_selected(case, session):
    case()
    assert session("cases", "-k", "nonsense").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert session("cases", "--parity-implementations=numpy.adam.hat").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--parity-implementations=numpy.adm", "*implementation 'numpy.adm' is unknown*did you mean*"),
        ("--parity-implementations=nowhere.py:run", "*there is no file 'nowhere.py'"),
        ("--parity-timeout=-1", "*parity_timeout: -1.0 is not allowed; a positive number of seconds"),
        ("--parity-report=cases", "*-o */cases: holds files that are no run of parity*"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_one_line(case, session, flag, told):
    case()
    result = session("cases", flag)
    result.stderr.fnmatch_lines([told])
    assert "Traceback" not in result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_an_own_adam_that_no_case_compares_is_refused(case, adam, session):
    case(expect=[{"actual": "numpy.adam.hat", "expected": "numpy.adam.outside", "verdict": "DIVERGED",
                  "because": "Epsilon stands in another place."}])  # fmt: skip
    adam()
    result = session("cases", "--parity-implementations=mine.py:mine", "--parity-implementations=numpy.adam.hat")
    result.stderr.fnmatch_lines(["*nothing to compare user.mine with: no expectation pairs it with *"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.frameworks
def test_torch_against_keras(case, session):
    """Both frameworks, in their own workers, beside the from-scratch Adam."""
    keras = {"actual": "keras.adam.eager", "expected": "numpy.adam.hat", "verdict": "WITHIN", "rounding": "scalars",
             "because": "Both have epsilon hat."}  # fmt: skip
    torch = {"actual": "torch.adam.forloop", "expected": "keras.adam.eager", "verdict": "DIVERGED",
             "because": "Epsilon stands in another place."}  # fmt: skip
    case(expect=[keras, torch], dtypes=["float64", "float32"])
    result = session("cases", "-v", "--no-parity-explain", "-n", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*small[[]float32-torch.adam.forloop-keras.adam.eager[]]*"])
