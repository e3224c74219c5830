"""An optimizer class as a target, with options behind a question mark, and what a user wraps."""

from __future__ import annotations

import numpy as np
import pytest

import parity
from parity.core.errors import ParityError, Unsupported
from parity.core.hyper import Hyper
from parity.implementations.registry import options_of, resolve

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

SHAPES = {"kernel": (5, 3), "bias": (4,)}
HYPER = Hyper(lr=(0.01, 0.02, 0.03, 0.04), eps=1e-3)

PAIRS = [
    ("torch.optim:Adam", "torch.adam.forloop", {}),
    ("torch.optim:Adam?fused=true", "torch.adam.fused", {"amsgrad": True}),
    ("torch.optim:Adam?foreach=true", "torch.adam.foreach", {"weight_decay": 0.1}),
    ("torch.optim:AdamW", "torch.adam.forloop", {"weight_decay": 0.1, "decoupled": True}),
    ("keras.optimizers:Adam", "keras.adam.eager", {"amsgrad": True}),
    ("keras.optimizers:AdamW", "keras.adam.eager", {"weight_decay": 0.1, "decoupled": True}),
    ("optax:adam", "optax.adam.plain", {}),
    ("optax:adamw", "optax.adam.plain", {"weight_decay": 0.1, "decoupled": True}),
]


def given(dtype=np.float32):
    random = np.random.default_rng(4)
    weights = {name: random.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    gradients = [
        {name: random.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()} for _ in range(4)
    ]
    return weights, gradients


def orbit(implementation, hyper):
    weights, gradients = given()
    return [
        {key: {name: np.array(one) for name, one in getattr(state, key).items()} for key in ("w", "m", "v")}
        for state in implementation.states(weights, gradients, hyper)
    ]


@pytest.mark.parametrize(("target", "shipped", "more"), PAIRS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_class_is_what_is_shipped_bit_for_bit(target, shipped, more):
    from dataclasses import replace

    hyper = replace(HYPER, **more)
    found, expected = orbit(resolve(target), hyper), orbit(resolve(shipped), hyper)
    for one, other in zip(found, expected, strict=True):
        for key in ("w", "m", "v"):
            for name in SHAPES:
                assert one[key][name].tobytes() == other[key][name].tobytes()


def test_options_are_part_of_the_name():
    assert resolve("torch.optim:Adam").name == "user.Adam"
    assert resolve("torch.optim:Adam?fused=true&maximize=true").name == "user.Adam.fused=true,maximize=true"


def test_its_own_numbers_are_the_defaults():
    assert resolve("torch.optim:AdamW").defaults == Hyper(lr=1e-3, eps=1e-8, weight_decay=0.01)
    assert resolve("keras.optimizers:Adam").defaults.eps == 1e-7
    assert resolve("torch.optim:Adam?lr=0.5").defaults.lr == 0.5


@pytest.mark.parametrize(("target", "hyper", "told"), [
    ("torch.optim:RMSprop", Hyper(beta1=0.8), "RMSprop has no betas in its groups"),
    ("torch.optim:NAdam", Hyper(amsgrad=True), "NAdam has no amsgrad in its groups"),
    ("torch.optim:AdamW", Hyper(weight_decay=0.1), "AdamW has no L2 weight decay"),
    ("keras.optimizers:RMSprop", Hyper(beta1=0.8), "RMSprop has no beta_1"),
    ("keras.optimizers:Adam", Hyper(weight_decay=0.1), "no L2 weight decay, only decoupled"),
    ("optax:adam", Hyper(weight_decay=0.1, decoupled=True), "adam takes no weight_decay"),
    ("optax:adam", Hyper(amsgrad=True), "adam has no AMSGrad to switch on"),
])  # fmt: skip
def test_what_a_class_has_no_place_for_is_unsupported(target, hyper, told):
    weights, gradients = given()
    with pytest.raises(Unsupported, match=told):
        next(resolve(target).states(weights, gradients, hyper))


def test_another_optimizer_hides_what_is_no_moment():
    state = next(resolve("torch.optim:SGD?momentum=0.9").states(*given(), Hyper(beta1=0.9)))
    assert (state.m, state.v) == (None, None)


def test_a_target_may_write_to_its_gradients():
    import torch

    def make(weights):
        class Clipped(torch.optim.Adam):
            def step(self):
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                super().step()

        return Clipped(weights)

    weights, gradients = given()
    before = [{name: one.copy() for name, one in each.items()} for each in gradients]
    states = list(parity.wrap.torch(make, "clipped").states(weights, gradients, HYPER))
    assert len(states) == 4
    assert all(
        np.array_equal(one[name], other[name]) for one, other in zip(gradients, before, strict=True) for name in one
    )


def test_what_is_wrapped_takes_no_gradient_and_a_start():
    import torch

    wrapped = parity.wrap.torch(lambda weights: torch.optim.Adam(weights, foreach=False), "mine")
    weights, gradients = given()
    gradients[0]["bias"] = None
    shipped = resolve("torch.adam.forloop")
    found, expected = (list(one.states(weights, gradients, HYPER))[-1] for one in (wrapped, shipped))
    assert found.w["bias"].tobytes() == expected.w["bias"].tobytes()
    assert wrapped.name == "user.mine"
    assert (wrapped.takes_start, wrapped.takes_leg) == (True, True)


def test_keras_and_optax_are_wrapped():
    import keras
    import optax

    for wrapped, shipped in (
        (parity.wrap.keras(lambda: keras.optimizers.Adam(), "k"), "keras.adam.eager"),
        (parity.wrap.optax(lambda hyper: optax.adam(0.01, eps=hyper.eps), "o"), "optax.adam.plain"),
    ):
        hyper = Hyper(lr=0.01, eps=1e-3)
        for one, other in zip(orbit(wrapped, hyper), orbit(resolve(shipped), hyper), strict=True):
            assert one["w"]["kernel"].tobytes() == other["w"]["kernel"].tobytes()


def test_options_reach_a_run_function(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def run(weights, gradients, hyper, *, clip=0.0, name='none'):\n    yield (clip, name)\n")
    found = resolve(f"{path}:run?clip=1.5&name=abc")
    assert next(found.states({}, [], Hyper())) == (1.5, "abc")
    assert found.name == "user.mine.clip=1.5,name=abc"


@pytest.mark.parametrize(("options", "told"), [
    ("clipp=1.0", r"its run takes no 'clipp'; allowed: clip; did you mean 'clip'\?"),
    ("clip", "'clip' is no option; allowed: name=value, parted by '&'"),
    ("clip=1&", "'' is no option; allowed: name=value"),
])  # fmt: skip
def test_a_wrong_option_is_one_line(tmp_path, options, told):
    path = tmp_path / "mine.py"
    path.write_text("def run(weights, gradients, hyper, clip=0.0):\n    yield clip\n")
    with pytest.raises(ParityError, match=told) as caught:
        resolve(f"{path}:run?{options}")
    assert "\n" not in str(caught.value)


def test_values_are_what_they_look_like():
    found = options_of("a:b?one=1&half=0.5&yes=true&no=False&nothing=none&text=abc")
    assert found == {"one": 1, "half": 0.5, "yes": True, "no": False, "nothing": None, "text": "abc"}


@pytest.mark.thorough
def test_a_user_s_own_torch_adam_is_identified_bit_for_bit(tmp_path, command):
    """Ten lines around it: the library's square root is asked, as it is for those that are shipped."""
    path = tmp_path / "mine.py"
    path.write_text("""
import torch

from parity import State


def run(weights, gradients, hyper):
    own = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in weights.items()}
    betas = hyper.beta1, hyper.beta2
    adam = torch.optim.Adam(own.values(), lr=1.0, betas=betas, eps=hyper.eps, amsgrad=hyper.amsgrad, foreach=False,
                            weight_decay=hyper.weight_decay, decoupled_weight_decay=hyper.decoupled)
    for step, gradient in enumerate(gradients, start=1):
        for name, one in own.items():
            one.grad = None if gradient[name] is None else torch.from_numpy(gradient[name].copy())
        adam.param_groups[0]["lr"] = hyper.lr_at(step)
        adam.step()

        def kept(key):
            held = {name: adam.state[one] if one in adam.state else {key: torch.zeros_like(one)}
                    for name, one in own.items()}
            return {name: one[key].detach().numpy() for name, one in held.items()}

        w = {name: one.detach().numpy() for name, one in own.items()}
        vmax = kept("max_exp_avg_sq") if hyper.amsgrad else None
        yield State(w, kept("exp_avg"), kept("exp_avg_sq"), vmax)
""")
    code, out, _ = command("identify", f"{path}:run", "-d", "float32")
    assert code == 0
    assert out.startswith("user.mine in float32 is Adam with epsilon outside, bit for bit.")
