"""Old releases run, and what is known of their numbers; each downloads an environment."""

from __future__ import annotations

import tempfile

import pytest

from parity.baseline.environments.installs import build_environment
from parity.baseline.environments.interpreter import runnable_under
from parity.baseline.saving import record_under
from parity.case.catalogue import select_cases
from parity.comparison.trace import read_trace
from parity.engine.candidates import shipped_candidates
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.standing import standing_of
from parity.numerics.formats import format_named

KERAS_3 = ("keras.adam.eager", "keras.adam.function", "keras.adam.xla", "tensorflow.adam.kernel")
KERAS_2 = ("tensorflow.adam.kernel", "tf_keras.adam.legacy", "tf_keras.adam.new")
OPTAX = ("optax.adam.jit", "optax.adam.plain")

# Pins; who can run; who differs in bits from the release that is installed here, on that case in float32.
RELEASES = [
    (("keras==3.3.3", "tensorflow-cpu==2.16.2"), KERAS_3, ()),
    (("keras==3.3.3", "tensorflow-cpu==2.21.0"), KERAS_3, ()),
    (("tensorflow-cpu==2.15.1",), KERAS_2, ()),
    (("optax==0.1.2", "jax==0.4.13", "jaxlib==0.4.13"), OPTAX, ("optax.adam.plain",)),
    (("optax==0.1.4", "jax==0.4.13", "jaxlib==0.4.13"), OPTAX, ()),
]


@pytest.fixture
def cache():
    """A cache that goes with the test: pytest keeps its own folders, and these are large."""
    with tempfile.TemporaryDirectory(prefix="parity-cache-") as folder:
        yield folder


@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("pins", "able", "changed"), RELEASES, ids=[" ".join(one[0]) for one in RELEASES])
def test_an_old_release_against_the_one_that_is_installed(pins, able, changed, cache, tmp_path):
    built = build_environment(pins, cache=cache)
    runnable = runnable_under(built.python, shipped_candidates(), "here")
    candidates = [one for one in runnable if one.worker != "numpy"]
    assert sorted(one.name for one in candidates) == sorted(able)
    cases = select_cases(keyword="same-hyperparameters")
    before = {one.implementation: one for one in record_under(built.python, cases, candidates, ["float32"], tmp_path)}
    after = record_under("", cases, candidates, ["float32"], tmp_path / "here")
    differing = []
    for one in after:
        old, new = read_trace(before[one.implementation].folder), read_trace(one.folder)
        assert old.input_digest == new.input_digest
        assert old.environment["packages"] != new.environment["packages"]
        if old.digests != new.digests:
            differing.append(one.implementation)
    assert sorted(differing) == sorted(changed)


@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.timeout(900)
def test_torch_before_2_1_is_known_to_the_last_bit(cache, tmp_path):
    """It added where lerp_ is today, had no float16 and no fused Adam on the CPU, and says so in its own words."""
    python = build_environment(["torch==2.0.1"], cache=cache).python
    names = ("torch.adam.forloop", "torch.adam.foreach", "torch.adamw.fused")
    candidates = [one for one in shipped_candidates() if one.name in names]
    (case,) = select_cases(keyword="same-hyperparameters")
    dtypes = ["float64", "float32", "float16", "bfloat16"]
    known, reasons = set(), {}
    with Libraries(300.0, python, {}) as libraries:
        for one in record_under(python, [case], candidates, dtypes, tmp_path):
            if one.folder is None:
                reasons[one.implementation, one.dtype] = one.failure.reason
                continue
            inputs = Inputs(case, format_named(one.dtype))
            standing = standing_of(read_trace(one.folder), "outside", inputs, libraries)
            assert (standing.known, standing.like) == (True, "torch.adam before 2.1")
            known.add((one.implementation, one.dtype))
    assert known == {(name, dtype) for name in names[:2] for dtype in ("float64", "float32", "bfloat16")}
    assert all("not implemented for 'Half'" in reasons.pop((name, "float16")) for name in names[:2])
    assert {name for name, _ in reasons} == {"torch.adamw.fused"}
    assert all("CUDA" in why for why in reasons.values())
