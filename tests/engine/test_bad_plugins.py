"""A plug-in that breaks its contract is one row with one clear reason; everything else goes on."""

from __future__ import annotations

import re

import pyarrow.parquet as pq
import pytest

import parity
from parity.case.expectation import Kind

TIMEOUT = 6.0

AT_3 = "if t == 3: "
EVERY_W = "state = State(w={{name: {} for name, a in w.items()}}, m=m, v=v)"

AT = r" \(NAME.py:\d+\)"
"""The user's own line: at which its generator stands, or from which it asked."""

CAST = "a NumPy float64 times a float32 array is float64; keep scalars as Python floats, or cast with .astype"

# name: (lines to plant, kind, what the reason says)
BAD = {
    "too_few": (
        {"before": "if t == 4: return"},
        Kind.CRASHED,
        "step 4: yielded 3 states for 5 gradients: too few",
    ),
    "too_many": (
        {"last": "yield state"},
        Kind.CRASHED,
        "after step 5: yielded more than 5 states for 5 gradients: too many",
    ),
    "other_dtype": (
        {"after": AT_3 + EVERY_W.format("a.astype(np.float64)")},
        Kind.CRASHED,
        rf"step 3: w\['kernel'\] is float64, the case runs in float32: {CAST}{AT}",
    ),
    "only_broadcasts": (
        {"after": EVERY_W.format("a[:1]")},
        Kind.CRASHED,
        rf"step 1: w\['kernel'\] has shape \(1, 4\), the case has \(3, 4\){AT}",
    ),
    "transposed": (
        {"after": EVERY_W.format("a.T")},
        Kind.CRASHED,
        rf"step 1: w\['kernel'\] has shape \(4, 3\), the case has \(3, 4\){AT}",
    ),
    "lacks_a_tensor": (
        {"after": AT_3 + "state = State(w=w, m={'kernel': m['kernel']}, v=v)"},
        Kind.CRASHED,
        f"step 3: m lacks the parameter 'bias'{AT}",
    ),
    "has_one_more": (
        {"after": AT_3 + "state = State(w=w, m=m | {'gamma': m['bias']}, v=v)"},
        Kind.CRASHED,
        f"step 3: m has 'gamma', which is no parameter of the case{AT}",
    ),
    "writes_gradients": (
        {"before": "g = gradient['kernel']\ng.flags.writeable = True\n" + AT_3 + "g[0] = 7"},
        Kind.CRASHED,
        rf"step 3: wrote into its gradients: change a copy, g = g.copy\(\){AT}",
    ),
    "writes_gradients_in_c": (
        {"before": AT_3 + "ctypes.memset(gradient['bias'].ctypes.data, 1, 4)"},
        Kind.CRASHED,
        rf"step 3: wrote into its gradients: change a copy, g = g.copy\(\){AT}",
    ),
    "writes_weights": (
        {"first": "weights['bias'].flags.writeable = True", "before": AT_3 + "weights['bias'][0] = 7"},
        Kind.CRASHED,
        f"step 3: wrote into the initial weights it was given: begin with copies of them{AT}",
    ),
    "writes_read_only": (
        {"before": AT_3 + "gradient['bias'][0] = 7"},
        Kind.CRASHED,
        rf"step 3: ValueError: .*read-only; what it is given is read-only: change a copy, g = g.copy\(\){AT}",
    ),
    "raises": (
        {"before": AT_3 + "raise ValueError('planted\\nin two lines')"},
        Kind.CRASHED,
        r"step 3: ValueError: planted in two lines \(raises.py:\d+\)",
    ),
    "unsupported": ({"first": "raise Unsupported('no such kernel')"}, Kind.SKIPPED, "no such kernel"),
    "unsupported_late": (
        {"before": AT_3 + "raise Unsupported('no such kernel')"},
        Kind.CRASHED,
        f"step 3: raised Unsupported after its first state: no such kernel{AT}",
    ),
    "leaves": (
        {"before": AT_3 + "sys.exit(4)"},
        Kind.CRASHED,
        r"step 3: the worker process died \(exit status 4\)",
    ),
    "leaves_at_once": (
        {"before": AT_3 + "os._exit(5)"},
        Kind.CRASHED,
        r"step 3: the worker process died \(exit status 5\)",
    ),
    "segfaults": (
        {"before": AT_3 + "ctypes.string_at(0)"},
        Kind.CRASHED,
        r"step 3: the worker process died \(signal SIGSEGV\)",
    ),
    "killed": (
        {"before": AT_3 + "os.kill(os.getpid(), signal.SIGKILL)"},
        Kind.CRASHED,
        r"step 3: the worker process died \(signal SIGKILL\)",
    ),
    "hangs": (
        {"before": AT_3 + "time.sleep(600)"},
        Kind.CRASHED,
        r"step 3: no answer in 6 s \(--timeout\); the process was ended",
    ),
    "asks_for_input": ({"before": AT_3 + "input()"}, Kind.CRASHED, "step 3: EOFError: .*"),
    "asks_ahead": (
        {"first": "gradients = list(gradients)"},
        Kind.CRASHED,
        f"step 1: asked for the gradient of step 2 before it yielded the state of step 1{AT}",
    ),
    "not_a_state": (
        {"after": AT_3 + "state = (w, m, v)"},
        Kind.CRASHED,
        rf"step 3: yielded a tuple, not a parity.State\(w=..., m=..., v=...\){AT}",
    ),
    "no_weights": (
        {"after": AT_3 + "state = State(w=None, m=m)"},
        Kind.CRASHED,
        rf"step 3: yielded no weights \(w is None\){AT}",
    ),
    "hides_later": (
        {"after": AT_3 + "state = State(w=w, m=m)"},
        Kind.CRASHED,
        f"step 3: shows m, w where it showed m, v, w before{AT}",
    ),
    "not_arrays": (
        {"after": EVERY_W.format("a.tolist()")},
        Kind.CRASHED,
        rf"step 1: w\['kernel'\] is a list, not a NumPy array: numpy.asarray makes one{AT}",
    ),
    "no_dict": (
        {"after": "state = State(w=list(w.values()))"},
        Kind.CRASHED,
        f"step 1: w is a list, not a dict of arrays by parameter name{AT}",
    ),
    "returns_nothing": (
        {"swap": [("yield state", "return")], "first": "return"},
        Kind.CRASHED,
        "returned a NoneType, not a generator of parity.State: yield one after every gradient",
    ),
    "returns_a_list": (
        {"swap": [("yield state", "states.append(state)")], "first": "states = []", "last": "return states"},
        Kind.CRASHED,
        f"asked for a gradient before it was a generator: yield a State after every gradient, and return nothing{AT}",
    ),
    "one_live_state": (
        {"first": "live = State({name: a.astype(float) for name, a in w.items()})", "after": "state = live"},
        Kind.CRASHED,
        rf"step 1: w\['kernel'\] is float64, the case runs in float32: {CAST}{AT}",
    ),
}

GOOD = {
    "correct": {},
    "talks": {"before": "print('{}', flush=True)\nos.write(1, b'{}\\n')\nsys.stdout.write('words\\n')"},
    "hides_moments": {"after": "state = State(w=w)"},
}


@pytest.fixture(scope="module")
def everyone(tmp_path_factory, case_text, adam_text):
    """One run of all of them beside two implementations of parity's own: (Run, its folder)."""
    folder = tmp_path_factory.mktemp("everyone")
    (folder / "small.toml").write_text(case_text())
    targets = ["numpy.adam.outside", "numpy.adam.hat"]
    for name, planted in {**{name: one[0] for name, one in BAD.items()}, **GOOD}.items():
        (folder / f"{name}.py").write_text(adam_text(name, **planted))
        targets.append(f"{folder / name}.py:{name}")
    options = parity.Options(timeout=TIMEOUT)
    return parity.run([folder / "small.toml"], targets, output=folder / "run", options=options), folder / "run"


@pytest.mark.thorough
@pytest.mark.parametrize("name", BAD)
def test_a_broken_contract_is_a_row_with_one_clear_reason(everyone, verdict_of, name):
    _, kind, reason = BAD[name]
    verdict = verdict_of(everyone[0], f"user.{name}")
    assert verdict.kind is kind
    assert not verdict.as_expected
    assert re.fullmatch(f"user.{name}: {reason.replace('NAME', name)}", verdict.reason)


@pytest.mark.parametrize("name", [*(f"user.{name}" for name in GOOD), "numpy.adam.hat"])
def test_the_others_of_the_cell_keep_their_verdicts(everyone, verdict_of, name):
    run, _ = everyone
    verdict = verdict_of(run, name)
    assert verdict.as_expected
    (pair,) = [one for one in run.cells[0].pairs if one.actual == name]
    assert pair.steps == run.cells[0].steps
    assert {distance.quantity for distance in pair.distances} == (
        {"w"} if name == "user.hides_moments" else {"w", "m", "v"}
    )


def test_hidden_moments_are_told(everyone, verdict_of):
    reason = verdict_of(everyone[0], "user.hides_moments").reason
    assert reason.endswith("; not compared, as one side hides it: m, v")
    assert "not compared" not in verdict_of(everyone[0], "user.correct").reason


def test_the_run_is_red_and_complete(everyone):
    run, _ = everyone
    assert run.exit_code == 1
    assert run.complete
    assert run.counts.as_expected == len(GOOD) + 1


def test_the_numbers_of_the_others_are_on_disk(everyone):
    run, folder = everyone
    table = pq.read_table(folder / "divergence.parquet").to_pandas()
    for name in ("user.correct", "user.talks", "numpy.adam.hat"):
        assert sorted(table[table.actual == name].step.unique()) == [1, 2, 3, 4, 5]
    assert len(table) == run.counts.rows
    report = (folder / "report.md").read_text()
    assert all(name in report for name in (*BAD, *GOOD))


def test_a_plugin_cannot_touch_what_others_read(everyone, run_small, write_adam):
    """Their numbers are those of a run without it."""
    alone = run_small("numpy.adam.outside", "numpy.adam.hat", write_adam("correct"))
    ours = {one.actual: one for one in everyone[0].cells[0].pairs}
    for pair in alone.cells[0].pairs:
        assert ours[pair.actual] == pair
