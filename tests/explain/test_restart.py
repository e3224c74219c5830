"""What a restart lost, told from the states before and after it alone: torch saves, a fault is put in, torch loads."""

from __future__ import annotations

import numpy as np
import pytest

from parity.adam.gradients import Block
from parity.adam.twins import TWINS
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.state import Rows, Start
from parity.explain.restart import restart_causes
from parity.explain.running import Adam
from parity.implementations.implementation import Leg
from parity.implementations.torch_ import CHECKPOINT, run
from parity.implementations.torch_memory import square_root
from parity.numerics.formats import FORMATS

pytestmark = pytest.mark.frameworks

SHAPES = {"query": (4, 3), "key": (4, 3), "bias": (5,)}
LAYOUT = Layout(tuple(Parameter(name, shape) for name, shape in SHAPES.items()))
AFTER, STEPS = 4, 10
QUANTITIES = ("w", "m", "v")


def rows(states, quantity, dtype):
    return np.stack([np.concatenate([one[quantity][name].reshape(-1) for name in SHAPES]) for one in states])


def restarted(folder, break_it, *, hyper=None, dtype="float32", after=AFTER, none=(), later=None, moving=None):
    """Restarted(...) of a torch Adam whose checkpoint is broken; later: other hyperparameters, moving: other counts."""
    import torch

    hyper = hyper or Hyper(lr=0.01)
    steps = after + STEPS - AFTER
    draw = np.random.default_rng(1)
    weights = {name: draw.standard_normal(shape).astype(FORMATS[dtype].dtype) for name, shape in SHAPES.items()}
    gradients = [{name: (draw.standard_normal(shape) * 0.3).astype(w.dtype) for (name, shape), w in
                  zip(SHAPES.items(), weights.values(), strict=True)} for _ in range(steps)]  # fmt: skip
    for step in none:
        gradients[step - 1]["bias"] = None

    def orbit(given, **more):
        states = run(weights, given, more.pop("hyper", hyper), foreach=False, fused=False, **more)
        return [{name: {key: np.array(one) for key, one in getattr(state, name).items()} for name in QUANTITIES}
                for state in states]  # fmt: skip

    whole = orbit(gradients)
    orbit(gradients[:after], leg=Leg(save=folder))
    kept = torch.load(folder / CHECKPOINT, weights_only=True)
    break_it(kept)
    torch.save(kept, folder / CHECKPOINT)
    rest = orbit(gradients[after:], leg=Leg(first=after + 1, load=folder), hyper=later or hyper)
    went = {name: rows(rest, name, dtype) for name in QUANTITIES}
    would = {name: rows(whole[after:], name, dtype) for name in QUANTITIES}
    before = [rows(whole[after - 1 : after], name, dtype)[0] for name in QUANTITIES]
    counts = np.array([after - sum(step <= after and name == "bias" for step in none) for name in SHAPES])
    present = np.array([[one[name] is not None for name in SHAPES] for one in gradients[after:]])
    given = np.stack([
        np.concatenate([np.zeros(SHAPES[name], w.dtype).reshape(-1) if one[name] is None else one[name].reshape(-1)
                        for name, w in weights.items()])
        for one in gradients[after:]
    ])  # fmt: skip
    adam = Adam(hyper, TWINS["torch.adam.forloop"][dtype], square_root)
    start = Start(Rows(*before, np.zeros_like(before[0])), counts)
    block = Block(range(after + 1, steps + 1), given, present)
    return restart_causes(adam, LAYOUT, start, [block], went, would, Hyper())


def each(change):
    def broken(kept):
        for one in kept["optimizer"]["state"].values():
            change(one)

    return broken


def groups(**hyper):
    def broken(kept):
        for one in kept["optimizer"]["param_groups"]:
            one.update(hyper)

    return broken


def narrowed(name, *keys):
    import torch

    def change(one):
        for key in keys:
            one[key] = one[key].to(getattr(torch, name)).to(one[key].dtype)

    return each(change)


def masters(kept):
    import torch

    kept["parameters"] = {name: one.to(torch.bfloat16).to(one.dtype) for name, one in kept["parameters"].items()}


def exchanged(kept):
    state = kept["optimizer"]["state"]
    state[0], state[1] = state[1], state[0]


def both(*changes):
    def broken(kept):
        for change in changes:
            change(kept)

    return broken


def test_what_comes_back_whole_lost_nothing(tmp_path):
    assert restarted(tmp_path, lambda kept: None) is None


TUNED = Hyper(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-2)

LOST = {
    "t lost": (each(lambda one: one["step"].zero_()), {}, ["the step count is lost (t begins at 1 again)"]),
    "t ahead": (each(lambda one: one["step"].add_(1)), {}, ["the step count is one too large"]),
    "t behind": (each(lambda one: one["step"].sub_(1)), {}, ["the step count is one too small"]),
    "m lost": (each(lambda one: one["exp_avg"].zero_()), {}, ["m is lost (zeros)"]),
    "v lost": (each(lambda one: one["exp_avg_sq"].zero_()), {}, ["v is lost (zeros)"]),
    "m and v lost": (each(lambda one: (one["exp_avg"].zero_(), one["exp_avg_sq"].zero_())), {},
                     ["m and v are lost (zeros), the step count is not"]),
    "all lost": (lambda kept: kept["optimizer"]["state"].clear(), {}, ["all state is lost: m, v and the step count"]),
    "beta1": (groups(betas=(0.9, 0.95)), {"hyper": TUNED}, ["beta1 is that of the constructor, 0.9"]),
    "beta2": (groups(betas=(0.8, 0.999)), {"hyper": TUNED}, ["beta2 is that of the constructor, 0.999"]),
    "betas": (groups(betas=(0.9, 0.999)), {"hyper": TUNED}, ["both betas are those of the constructor"]),
    "eps": (groups(eps=1e-8), {"hyper": TUNED}, ["eps is that of the constructor, 1e-08"]),
    "lr": (lambda kept: None, {"hyper": TUNED, "later": Hyper(0.001, 0.8, 0.95, 1e-2)},
           ["lr is that of the constructor, 0.001"]),
    "order": (exchanged, {},
              ["the moments belong to other parameters: query has those of key, key has those of query"]),
    "masters": (masters, {}, ["the weights (masters) are narrowed to bfloat16"]),
    "two": (both(each(lambda one: one["step"].zero_()), groups(eps=1e-8)), {"hyper": TUNED},
            ["the step count is lost (t begins at 1 again)", "eps is that of the constructor, 1e-08"]),
}  # fmt: skip


# A bfloat16 weight is its own master.
EVERY = [(name, dtype) for name in LOST for dtype in FORMATS if (name, dtype) != ("masters", "bfloat16")]


@pytest.mark.parametrize(("name", "dtype"), EVERY)
def test_every_loss_is_named_and_leaves_no_bit(tmp_path, name, dtype):
    change, settings, causes = LOST[name]
    found = restarted(tmp_path, change, dtype=dtype, **settings)
    assert list(found.causes) == causes
    assert (found.after, found.left, found.first) == (AFTER, 0, AFTER + 1)
    assert found.differing > 0
    assert "with that, no bit differs" in found.sentence


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_narrowed_moments_are_named(tmp_path, name):
    found = restarted(tmp_path, narrowed(name, "exp_avg", "exp_avg_sq"))
    assert found.causes == (f"m and v are narrowed to {name}",)
    assert restarted(tmp_path, narrowed(name, "exp_avg")).causes == (f"m is narrowed to {name}",)


SCHEDULE = tuple(0.01 / step for step in range(1, STEPS + 1))


@pytest.mark.parametrize(("rates", "told"), [
    ((*SCHEDULE[:AFTER], *SCHEDULE[: STEPS - AFTER]), "the schedule is back at its start"),
    ((*SCHEDULE[:AFTER], *SCHEDULE[AFTER - 1 : -1]), "the schedule is one step behind"),
    ((*SCHEDULE[:AFTER], *[SCHEDULE[0]] * (STEPS - AFTER)), "the schedule stands at its first rate"),
])  # fmt: skip
def test_a_schedule_that_does_not_come_back_is_named(tmp_path, rates, told):
    found = restarted(tmp_path, lambda kept: None, hyper=Hyper(lr=SCHEDULE), later=Hyper(lr=rates))
    assert found.causes == (told,)


def test_one_count_for_all_tensors_is_named(tmp_path):
    """Counts are those of each parameter, of which one had no gradient twice."""
    found = restarted(tmp_path, each(lambda one: one["step"].fill_(AFTER)), none=(1, 3))
    assert found.causes == ("one step count for all tensors",)


@pytest.mark.parametrize(("name", "most"), [("bfloat16", 256), ("float16", 2048)])
def test_a_counter_that_saturates_is_named(tmp_path, name, most, monkeypatch):
    """A counter in half precision, once it is loaded: t + 1 is t."""
    import torch

    class Halved(torch.optim.Adam):
        loaded = False

        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.loaded = True

        def step(self):
            for one in self.state.values() if self.loaded else ():
                one["step"].clamp_(max=most - 1)
            super().step()

    monkeypatch.setattr(torch.optim, "Adam", Halved)
    found = restarted(tmp_path, lambda kept: None, after=most - 2, hyper=Hyper(lr=0.01, beta2=0.9999))
    assert found.causes == (f"the step count is kept in {name} and stops at {most:,}",)
    assert (found.after, found.first) == (most - 2, most + 1)


def test_what_nothing_known_does_stays_open(tmp_path):
    found = restarted(tmp_path, each(lambda one: one["exp_avg"].mul_(1.7)))
    assert found.causes == ()
    assert found.left == found.differing > 0
    assert found.sentence.endswith("nothing known does it")
