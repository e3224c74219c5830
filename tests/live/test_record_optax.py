"""An optax training is recorded as it is, jitted or not, and trains as if nobody looked."""

from __future__ import annotations

import numpy as np
import pytest

import parity
from parity.case.expectation import Kind
from parity.case.recording import check_recording, read_recording

pytestmark = pytest.mark.frameworks

STEPS = 8
HYPER = parity.Hyper(lr=0.01, beta1=0.8, eps=1e-6)


@pytest.fixture
def training(tmp_path):
    """Train a small model with jax; its parameters after every step, and the Adam's state at the end."""

    def train(name="", *, jitted=True, transformation=None, **options):
        import jax
        import jax.numpy as jnp
        import optax

        tx = transformation or optax.adam(HYPER.lr, b1=HYPER.beta1, eps=HYPER.eps)
        if name:
            tx = parity.recorded(tx, tmp_path / name, **options)
        random = np.random.default_rng(0)
        params = {"dense": {"kernel": jnp.array(random.normal(size=(5, 3)), jnp.float32), "bias": jnp.zeros(3)}}
        x, y = jnp.array(random.normal(size=(16, 5)), jnp.float32), jnp.array(random.normal(size=(16, 3)), jnp.float32)
        state = tx.init(params)

        def loss(params):
            return jnp.mean((x @ params["dense"]["kernel"] + params["dense"]["bias"] - y) ** 2)

        def step(params, state):
            grads = jax.grad(loss)(params)
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state, grads

        if jitted:
            step = jax.jit(step)
        seen = []
        for _ in range(STEPS):
            params, state, grads = step(params, state)
            seen.append((jax.tree.map(np.array, params), jax.tree.map(np.array, grads)))
        jax.effects_barrier()
        return seen, state

    return train


@pytest.mark.parametrize("jitted", [True, False], ids=["jit", "plain"])
def test_it_holds_what_jax_holds_and_changes_nothing(training, tmp_path, jitted):
    alone, _ = training(jitted=jitted)
    seen, state = training("made", jitted=jitted, hyper=HYPER)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.name for one in recording.parameters] == ["dense.bias", "dense.kernel"]
    assert recording.steps == STEPS
    for step, ((params, grads), (before, _)) in enumerate(zip(seen, alone, strict=True), start=1):
        for name in ("bias", "kernel"):
            assert params["dense"][name].tobytes() == before["dense"][name].tobytes()
            assert recording.values("w", f"dense.{name}", step).tobytes() == params["dense"][name].tobytes()
            assert recording.gradients(f"dense.{name}", step).tobytes() == grads["dense"][name].tobytes()
    assert recording.values("m", "dense.kernel", STEPS).tobytes() == np.array(state[0].mu["dense"]["kernel"]).tobytes()
    assert [one.t[0] for one in recording.journal] == list(range(1, STEPS + 1))
    assert not any(one.moved for one in recording.journal)


def test_it_is_replayed_where_its_numbers_were_handed_over(training, tmp_path):
    training("made", hyper=HYPER)
    run = parity.run([tmp_path / "made"], ["optax.adam.*"], output=tmp_path / "run")
    assert run.exit_code == 0
    assert {one.expected: one.verdict.kind for one in run.verdicts}["optax.adam.jit"] in (Kind.IDENTICAL, Kind.WITHIN)


def test_a_sample_of_some(training, tmp_path):
    training("made", elements=4, parameters="*.kernel", moments=False)
    recording = read_recording(tmp_path / "made")
    assert [(one.name, one.kept) for one in recording.parameters] == [("dense.kernel", 4)]
    assert (recording.steps, recording.quantities) == (STEPS, ("w",))
    with pytest.raises(parity.ParityError, match="its hyperparameters are not known"):
        parity.run([tmp_path / "made"], output=tmp_path / "run")


@pytest.mark.parametrize("jitted", [True, False], ids=["jit", "plain"])
def test_one_step_in_three_and_the_last_ones(training, tmp_path, jitted):
    """They are read while the process still runs, and may add to them."""
    for name, options in (("whole", {}), ("every", {"first": 2, "every": 3}), ("last", {"last": 3})):
        training(name, jitted=jitted, hyper=HYPER, **options)
    whole, every, last = (read_recording(tmp_path / name) for name in ("whole", "every", "last"))
    for some, numbers in ((every, [2, 5, 8]), (last, list(range(4, STEPS + 1)))):
        check_recording(some)
        assert (some.told["first"], [one.t[0] for one in some.journal]) == (numbers[0], numbers)
        for place, number in enumerate(numbers, start=1):
            assert some.gradients("dense.kernel", place).tobytes() == whole.gradients("dense.kernel", number).tobytes()
            for quantity in ("w", "m", "v"):
                for find in ("before", "values"):
                    found = getattr(some, find)(quantity, "dense.kernel", place)
                    assert found.tobytes() == getattr(whole, find)(quantity, "dense.kernel", number).tobytes()


def test_what_is_none_is_one_line(tmp_path):
    import optax

    with pytest.raises(parity.ParityError, match=r"^builtins\.int is no optax\.GradientTransformation$"):
        parity.recorded(3, tmp_path / "none")
    tx = parity.recorded(optax.adam(0.1), tmp_path / "bare")
    with pytest.raises(parity.ParityError, match="has to be given params"):
        tx.update({"w": np.ones(2)}, tx.init({"w": np.ones(2)}))
