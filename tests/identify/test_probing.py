"""What a target is seen to do, in real worker processes: its orbit, its refusals, and whether it is the same twice."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from parity.core.errors import ParityError
from parity.engine.candidates import describe_plugin, shipped_candidates
from parity.identify.probes import LAW, LAWS, probes
from parity.identify.probing import probe
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS

pytestmark = pytest.mark.thorough


WITHOUT_EPS = {"no-eps", LAW, *LAWS}
"""Probes that ask for an eps of 0."""

OF_A_RUN = ("law-continued", "law-unscaled", "law-left-out", "betas")
"""Probes for which a run has to take more than the usual."""

FAULTS = Path(__file__).parent.parent / "faults"

BAD = {
    "raises": "step 3: RuntimeError: planted (bad_targets.py:",
    "hangs": "step 3: no answer in 6 s (--timeout); the process was ended",
    "yields_too_few": "step 3: yielded 2 states for 24 gradients: too few",
    "mutates_gradients": "step 1: wrote into its gradients: change a copy, g = g.copy() (exchangeable_adam.py:",
    "mutates_weights": "step 1: wrote into the initial weights it was given: begin with copies of them (bad_targets.",
    "promoted": "step 1: w['kernel'] is float64, the case runs in float32: a NumPy float64 times a float32 array is "
    "float64; keep scalars as Python floats, or cast with .astype (bad_targets.py:",
    "transposed": "step 1: w['kernel'] has shape (5, 7), the case has (7, 5) (bad_targets.py:",
    "views_of_inputs": "shows what it was given as its state: every v is the gradient of its step",
}
"""Bad targets, and how the one line about each begins."""

FEW = 'os.environ.get("OMP_NUM_THREADS") in ("1", "2")'
"""Says in a plug-in whether it is in the second process, where the first got no such variable."""


@pytest.fixture
def described(tmp_path, monkeypatch):
    """A plug-in as the engine knows it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda target: describe_plugin(str(target), tmp_path / "logs", 60)


@pytest.fixture
def planted(described, write_adam):
    """A correct plug-in with lines planted, as the engine knows it."""
    return lambda **lines: described(write_adam(**lines))


def shipped(name):
    return next(one for one in shipped_candidates() if one.name == name)


def orbit(implementation, one):
    """The states of an implementation in this process, as rows."""

    def gradients():
        for step, row in enumerate(one.gradients, start=1):
            yield {
                name: None if name in one.none.get(step, ()) else array for name, array in one.layout.views(row).items()
            }

    rows = {"w": [one.weights.copy()], "m": [np.zeros_like(one.weights)], "v": [np.zeros_like(one.weights)]}
    for state in implementation.states(one.layout.views(one.weights), gradients(), one.hyper):
        for name, shown in rows.items():
            arrays = getattr(state, name)
            shown.append(np.concatenate([arrays[p.name].reshape(-1) for p in one.layout.parameters]))
    return {name: np.array(shown) for name, shown in rows.items()}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_an_observation_is_the_orbit_to_the_last_bit(dtype):
    name = "numpy.adam.outside"
    found = probe(shipped(name), [dtype])[dtype]
    assert found.refused == ()
    assert found.unsteady is None
    asked = {one.name: one for one in probes(FORMATS[dtype])}
    assert set(found.observations) == set(asked)
    for kind in ("main", "none", "schedule", "decoupled", "long"):
        seen = found.observations[kind]
        assert seen.probe is asked[kind]
        for quantity, rows in orbit(shipped_implementations()[name], asked[kind]).items():
            assert getattr(seen, quantity).tobytes() == rows.tobytes(), (kind, quantity)
        assert not seen.w.flags.writeable
    assert found.observations["main"].vmax is None
    assert found.observations["amsgrad"].vmax.any()


def test_hidden_moments_are_none():
    found = probe(shipped("numpy.adam.hat"), ["float32"], hide_moments=True)["float32"]
    assert all(one.m is None and one.v is None and one.vmax is None for one in found.observations.values())
    assert found.observations["main"].w[1:].any()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_target_is_one_reason_for_its_dtype(described, name):
    started = time.monotonic()
    target = described(f"{FAULTS / 'bad_targets.py'}:{name}")
    found = probe(target, ["float32"], 6.0 if name == "hangs" else 60.0)["float32"]
    assert found.failed.reason.startswith(BAD[name])
    assert "\n" not in found.failed.reason
    assert ("planted" in found.failed.traceback) == (name == "raises")
    # What has no answer to the plainest question is not asked the others.
    assert (found.refused, dict(found.observations), found.unsteady) == ((found.failed,), {}, None)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"last": "yield state"}, "after step 24: yielded more than 24 states for 24 gradients: too many"),
        ({"before": "if t == 3: os._exit(5)"}, "step 3: the worker process died (exit status 5)"),
        ({"swap": [("yield state", "return")], "first": "return"}, "returned a NoneType, not a generator"),
    ],
)
def test_a_broken_contract_is_one_reason_for_its_dtype(planted, lines, told):
    assert probe(planted(**lines), ["float32"], 60.0)["float32"].failed.reason.startswith(told)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"before": "if hyper.eps == 0 and t == 2: os._exit(5)"}, "step 2: the worker process died (exit status 5)"),
        (
            {"before": "if hyper.eps == 0: time.sleep(600)"},
            "step 1: no answer in 8 s (--timeout); the process was ended",
        ),
        (
            {"after": "if hyper.eps == 0: state = State(w=w, m=m, v=list(v))"},
            "step 1: v is a list, not a dict of arrays",
        ),
        ({"before": "if hyper.eps == 0: raise ValueError('planted')"}, "step 1: ValueError: planted (plugin.py:"),
    ],
)
def test_a_probe_that_fails_takes_no_other_down(planted, lines, told):
    found = probe(planted(**lines), ["float32"], 8.0)["float32"]
    refused, *_ = found.refused
    assert (refused.name, refused.failed, found.failed, found.unsteady) == ("no-eps", True, None, None)
    assert {one.name for one in found.refused} == {*WITHOUT_EPS, "betas"}
    assert refused.reason.startswith(told)
    assert set(found.observations) == {one.name for one in probes(FORMATS["float32"])} - {*WITHOUT_EPS, "betas"}
    for name, one in probe(planted(), ["float32"])["float32"].observations.items():
        if name not in WITHOUT_EPS:
            assert found.observations[name].w.tobytes() == one.w.tobytes(), name


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("np.float32(1) / np.float32(0)", ""),
        ("sys.stderr.write('out of memory\\n')\n    np.float32(1) / np.float32(0)", ": out of memory"),
    ],
)
def test_nobody_dies_of_a_warning(planted, lines, words):
    """What a process said last is what it died of, but for warnings, and for what it said before it was asked."""
    before = (
        f"if hyper.eps == 1e-8: sys.stderr.write('of another question\\n')\nif t == 2 and hyper.eps == 0:\n    {lines}"
    )
    found = probe(planted(before=f"{before}\n    os._exit(5)"), ["float32"])["float32"]
    reasons = {one.reason for one in found.refused if one.name not in OF_A_RUN}
    assert reasons == {f"step 2: the worker process died (exit status 5){words}"}


def test_a_dtype_that_fails_takes_no_other_down(planted):
    found = probe(planted(first="if w and next(iter(w.values())).dtype == 'f4': os._exit(5)"), ["float32", "float16"])
    assert found["float32"].failed.reason == "step 1: the worker process died (exit status 5)"
    assert (found["float16"].failed, [one.name for one in found["float16"].refused]) == (None, [*OF_A_RUN])
    assert {*found["float16"].observations, *OF_A_RUN} == {one.name for one in probes(FORMATS["float16"])}


def test_who_hangs_again_is_not_asked_any_more(planted):
    started = time.monotonic()
    found = probe(planted(before="if hyper.weight_decay: time.sleep(600)"), ["float32", "float16"], 6.0)
    reasons = {one.name: one.reason for one in found["float32"].refused}
    assert reasons["decoupled"] == reasons["l2"] == "step 1: no answer in 6 s (--timeout); the process was ended"
    assert reasons["amsgrad"] == reasons["clip"] == "not asked any more: it hung 2 times"
    assert set(found["float32"].observations) == {
        *("main", "wide", "default-eps", "no-eps", "other", "long", "not-finite", "groups")
    }
    assert found["float16"].failed.reason == "not asked any more: it hung 2 times"
    assert time.monotonic() - started < 60


def test_the_other_process_ends_with_the_one_that_failed(planted):
    started = time.monotonic()
    found = probe(planted(before=f"if {FEW}: time.sleep(600)\nraise ValueError('planted')"), ["float32"], 300.0)
    assert found["float32"].failed.reason.startswith("step 1: ValueError: planted")
    assert time.monotonic() - started < 60


def test_a_missing_framework_is_one_line(described, tmp_path):
    (tmp_path / "needy.py").write_text(
        "from parity import Implementation\nadam = Implementation('needy', print, needs=('no_such_framework',))\n"
    )
    with pytest.raises(ParityError, match=r"^user\.needy: no_such_framework is not installed$"):
        probe(described(f"{tmp_path / 'needy.py'}:adam"), ["float32"])


def test_a_dtype_it_does_not_run_in_is_refused_before_anything_starts():
    with pytest.raises(ParityError, match=r"numpy\.adam\.hat\.store does not run in float64; allowed: float16, bfloat"):
        probe(shipped("numpy.adam.hat.store"), ["float64"])


def test_what_it_refuses_is_left_out_with_the_reason(planted):
    # Where "l2" is asked the plug-in says so; where "schedule" is asked it stumbles.
    target = planted(
        first="if hyper.weight_decay and not hyper.decoupled: raise Unsupported('no L2 here')",
        swap=[("hyper.lr_at(t)", "float(hyper.lr)")],
    )
    found = probe(target, ["float32"])["float32"]
    reasons = {one.name: one.reason for one in found.refused}
    assert set(reasons) == {"l2", "clip-l2", "schedule", "jumps", *OF_A_RUN}
    assert reasons["l2"] == reasons["clip-l2"] == "no L2 here"
    assert reasons["schedule"].startswith("step 1: TypeError: ")
    assert {one.name for one in found.refused if one.failed} == {"schedule", "jumps"}
    assert not set(reasons) & set(found.observations)
    assert found.unsteady is None


@pytest.mark.frameworks
def test_what_takes_matrices_only_is_asked_them(described):
    """torch's Muon raises at any other tensor."""
    found = probe(described("torch.optim:Muon"), ["float32"])["float32"]
    assert "Muon only supports 2D parameters" in found.failed.reason
    assert set(found.observations) == {"matrices"}


def test_a_noisy_target_is_found_first(described):
    finding = probe(described(f"{FAULTS / 'wrong_adams.py'}:noisy"), ["float32"])["float32"].unsteady
    assert finding.family == "nondeterminism"
    assert not finding.benign
    assert (finding.evidence["quantity"], finding.evidence["probe"]) == ("w", "main")
    assert set(finding.evidence["differing"]) == {"w"}
    assert 0 < finding.evidence["differing"]["w"] <= 24 * 1141
    assert f"w differs in {finding.evidence['differing']['w']:,} of 27,384 elements, first at step 1" in finding.detail


def test_two_runs_that_only_round_otherwise_are_told_from_those_that_do_not(planted):
    for by, rounding in (("f(1 + 2**-22)", True), ("f(1.001)", False)):
        finding = probe(planted(after=f"if {FEW}: m = {{name: one * {by} for name, one in m.items()}}"),
                        ["float32"])["float32"].unsteady  # fmt: skip
        assert (finding.evidence["probe"], finding.evidence["rounding"]) == ("main", rounding)


def test_what_depends_on_the_number_of_threads_in_long_tensors_only_is_found(planted):
    target = planted(after=f"if {FEW} and t == 2 and w.get('vector') is not None: m['vector'][-5:] += 1")
    finding = probe(target, ["float32"])["float32"].unsteady
    assert (finding.evidence["probe"], finding.evidence["quantity"], finding.evidence["first_step"]) == ("wide", "m", 2)
    # m of steps 2 and 3, and from step 3 on w.
    assert finding.evidence["differing"] == {"m": 10, "w": 5}


def test_a_question_that_is_refused_only_once_is_no_steady_answer(planted):
    target = planted(first=f"if {FEW}: raise Unsupported('no room')")
    finding = probe(target, ["float32"])["float32"].unsteady
    assert finding.family == "nondeterminism"
    assert finding.detail.endswith("is answered once, and refused once: no room")


def test_nan_is_the_same_as_nan_of_any_sign(planted):
    nan = f"(-np.nan if {FEW} else np.nan)"
    target = planted(after=f"state = State({{name: np.full_like(a, {nan}) for name, a in w.items()}}, m, v)")
    found = probe(target, ["float32"])["float32"]
    assert np.isnan(found.observations["main"].w[1:]).all()
    assert found.unsteady is None
