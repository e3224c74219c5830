"""Hand a training over: what one framework's Adam holds, under the names, axes and epsilon of another's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.case.pairing import Pair, Pairing, pair_parameters
from parity.case.recording import RecordedParameter
from parity.core.errors import ParityError, UsageError
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.live.held import HAT, OUTSIDE, Held, held_by, put_into_keras, put_into_optax, put_into_torch
from parity.numerics.formats import FORMATS

FORMAT_OF = {format.dtype: name for name, format in FORMATS.items()}

EXACT = {("keras", OUTSIDE): "parity.bridge.TorchAdam", ("torch", HAT): "parity.bridge.KerasAdam",
         ("keras", HAT): "keras.optimizers.Adam", ("torch", OUTSIDE): "torch.optim.Adam"}  # fmt: skip
"""Which optimizer of a framework puts epsilon where another does."""

KERAS_ONLY = ("clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor", "gradient_accumulation_steps")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was handed over.

    pairs: names on either side, transposed or not, and by what they were paired. steps: counted so far. hyper: in
    force on the target, by its names. carried, adapted, left: what was carried as it is, what the other side needs
    instead, and what was not carried and why; a line each. parameters, state: of optax, whose values never change;
    None elsewhere, where the optimizer and its model have them now.
    """

    pairs: tuple[tuple[str, str, bool, str], ...]
    steps: int
    hyper: Mapping[str, Hyper]
    carried: tuple[str, ...]
    adapted: tuple[str, ...]
    left: tuple[str, ...]
    parameters: Any = None
    state: Any = None

    def __str__(self) -> str:
        kinds = (("carried", self.carried), ("adapted", self.adapted), ("left", self.left))
        return "\n".join(f"{kind:<9}{line}" for kind, lines in kinds for line in lines)


def transfer(
    source: Any,
    target: Any,
    *,
    models: tuple[Any, Any] = (None, None),
    map: Mapping[str, str] | None = None,
    hyper: Hyper | None = None,
) -> Transfer:
    """Put weights, m, v, vmax, step count and hyperparameters of one Adam under another, of the same framework or not.

    source, target: optimizers of torch or Keras, or states of optax. models: theirs, who have the names; of optax the
    parameters. map: names of the target by names of the source, for what value, shape and order do not settle. hyper:
    of optax as the source, which keeps it to itself. Where epsilon stands elsewhere, the target has to be the bridge
    optimizer of that convention; torch's own Adams are given eps anew before every step:
    ``eps_hat / sqrt(1 - beta2^t)`` outside, ``eps * sqrt(1 - beta2^t)`` hat.
    ParityError or UsageError, one line, where something cannot be carried; nothing is written then.
    """
    held, wanted = held_by(source, models[0], hyper), held_by(target, models[1])
    pairing = _paired(held, wanted, map)
    _check(held, wanted)
    state = _turned(held, wanted, pairing)
    hypers = _hypers(held, wanted, pairing)
    adapted, epsilon = _epsilon(held, wanted, hypers, target)
    _check_groups(wanted, hypers, target)
    done: dict[str, Any] = {}
    match wanted.framework:
        case "torch":
            put_into_torch(target, wanted, state, hypers)
            if epsilon is not None:
                target.register_step_pre_hook(epsilon)
        case "keras":
            put_into_keras(target, wanted, state, hypers)
        case _:
            parameters, grown = put_into_optax(target, models[1], wanted, state)
            done = {"parameters": parameters, "state": grown}
    steps = max((state.steps or {}).values())
    first = next(iter(hypers.values()))
    moments = ", ".join(name for name in ("m", "v", "vmax") if getattr(state, name) is not None)
    turned = sum(pair.turned for pair in pairing.pairs)
    carried = (
        f"w, {moments} of {len(pairing.pairs)} parameters" + (f", {turned} of them transposed" if turned else ""),
        f"step count {steps:,}",
        *(() if wanted.framework == "optax" else (f"lr {first.lr!r}, betas {first.beta1!r} and {first.beta2!r}",)),
    )
    pairs = tuple((pair.actual, pair.expected, pair.turned, pair.by) for pair in pairing.pairs)
    return Transfer(pairs, steps, hypers, carried, adapted, tuple(_left(source, models, wanted, hypers)), **done)


@dataclass(frozen=True, slots=True)
class _Tensors:
    """What an optimizer holds, as pairing looks at a recording."""

    held: Held
    elements: None = None
    seed: int = 0

    @property
    def folder(self) -> Path:
        return Path(self.held.kind)

    @property
    def told(self) -> Mapping[str, str]:
        return {"framework": self.held.framework}

    @property
    def parameters(self) -> tuple[RecordedParameter, ...]:
        return tuple(
            RecordedParameter(name, array.shape, array.size, {"w": FORMAT_OF[array.dtype]})
            for name, array in self.held.state.w.items()
        )

    def weights(self, name: str) -> np.ndarray:
        return self.held.state.w[name].reshape(-1)


def _paired(held: Held, wanted: Held, asked: Mapping[str, str] | None) -> Pairing:
    for one in (held, wanted):
        for name, array in one.state.w.items():
            if array.dtype not in FORMAT_OF:
                raise ParityError(f"{name!r} is {array.dtype}, which cannot be carried; allowed: {', '.join(FORMATS)}")
    pairing = pair_parameters(_Tensors(held), _Tensors(wanted), asked)
    for side, names in zip(("source", "target"), pairing.alone, strict=True):
        if names:
            shapes = (held if side == "source" else wanted).state.w
            told = ", ".join(f"{name!r} {list(shapes[name].shape)}" for name in names[:3])
            raise ParityError(f"only the {side} has {told}; nothing was carried (map= says which are the same)")
    return pairing


def _check(held: Held, wanted: Held) -> None:
    if held.hyper is None:
        raise UsageError("optax keeps its hyperparameters to itself; give hyper=parity.Hyper(...) of the source")
    amsgrad = [one.state.vmax is not None for one in (held, wanted)]
    if amsgrad[0] != amsgrad[1]:
        which = ("source", "target") if amsgrad[0] else ("target", "source")
        raise ParityError(f"the {which[0]} keeps AMSGrad's maximum and the {which[1]} does not; nothing was carried")
    if amsgrad[0] and "optax" in (held.framework, wanted.framework) and held.framework != wanted.framework:
        raise ParityError("optax keeps AMSGrad's maximum of the corrected moment, all others of the plain one; "
                          "nothing was carried")  # fmt: skip
    counts = sorted(set(held.steps.values()))
    if len(counts) > 1 and not (wanted.framework == "torch" and wanted.epsilon == OUTSIDE):
        if not wanted.kind.endswith("TorchAdam"):
            raise ParityError(f"the source counts steps of every parameter ({counts}), the target one for all; "
                              "nothing was carried")  # fmt: skip


def _turned(held: Held, wanted: Held, pairing: Pairing) -> State:
    """The state under the names and in the axes of the target."""

    def carried(quantity: str) -> dict[str, np.ndarray] | None:
        arrays, like = getattr(held.state, quantity), getattr(wanted.state, quantity)
        if arrays is None:
            return None
        found = {pair.expected: _carried(quantity, pair, arrays[pair.actual], like[pair.expected])
                 for pair in pairing.pairs}  # fmt: skip
        return {name: found[name] for name in wanted.names}

    w = carried("w")
    assert w is not None
    for pair in pairing.pairs:
        _check_order(pair, w[pair.expected], wanted.state.w[pair.expected])
    steps = {pair.expected: held.steps[pair.actual] for pair in pairing.pairs}
    return State(w, carried("m"), carried("v"), carried("vmax"), steps)


def _check_order(pair: Pair, given: np.ndarray, own: np.ndarray) -> None:
    """ParityError where a port has the same numbers in another order: what is carried would undo that."""
    if given.tobytes() != own.tobytes() and np.array_equal(np.sort(given, axis=None), np.sort(own, axis=None)):
        raise ParityError(
            f"{pair.expected!r} has the numbers of {pair.actual!r} in another order than its axes say (a kernel behind "
            "a Flatten, for one); its moments would not fit; nothing was carried"
        )


def _carried(quantity: str, pair: Pair, array: np.ndarray, like: np.ndarray) -> np.ndarray:
    flat = array.reshape(-1)
    found = np.empty(flat.size, flat.dtype)
    found[pair.place] = flat
    with np.errstate(all="ignore"):
        cast = found.astype(like.dtype)
    if cast.astype(flat.dtype).tobytes() != found.tobytes():
        raise ParityError(
            f"{quantity} of {pair.actual!r} is {array.dtype} and would be rounded to the {like.dtype} of "
            f"{pair.expected!r}; nothing was carried"
        )
    return cast.reshape(like.shape)


def _hypers(held: Held, wanted: Held, pairing: Pairing) -> dict[str, Hyper]:
    assert held.hyper is not None
    found = {pair.expected: held.hyper[pair.actual] for pair in pairing.pairs}
    return {name: found[name] for name in wanted.names}


def _epsilon(
    held: Held, wanted: Held, hypers: Mapping[str, Hyper], target: Any
) -> tuple[tuple[str, ...], Callable[..., None] | None]:
    """What becomes of epsilon, in words, and what sets it before every step of a torch optimizer."""
    eps = {one.eps for one in hypers.values()}
    number = ", ".join(f"{one!r}" for one in sorted(eps))
    if held.epsilon == wanted.epsilon or eps == {0.0}:
        return (), None
    formula = "eps / sqrt(1 - beta2^t)" if wanted.epsilon == OUTSIDE else "eps * sqrt(1 - beta2^t)"
    exact = EXACT.get((wanted.framework, held.epsilon), "")
    if wanted.framework == "optax":
        beta2 = next(iter(hypers.values())).beta2
        schedule = f"parity.bridge.outside_epsilon({number}, {beta2!r})"
        return (f"epsilon {number} is {formula} here: make the transformation with "
                f"optax.inject_hyperparams(optax.adam)(..., eps={schedule})",), None  # fmt: skip
    if wanted.framework == "keras":
        raise ParityError(
            f"{wanted.kind.rpartition('.')[2]} of Keras has one epsilon for all steps, and here it is {formula} with "
            f"eps = {number}; make the target a {exact}; nothing was carried"
        )
    hook = set_epsilon_per_step(held.epsilon, target, wanted, hypers)
    return (f"epsilon {number} is {formula} here, set before every step; {exact} has it as one number",), hook


def set_epsilon_per_step(epsilon: str, target: Any, wanted: Held, hypers: Mapping[str, Hyper]) -> Callable[..., None]:
    """A hook before every step of a torch optimizer that stands epsilon where another has it.

    epsilon: where the eps of `hypers` stands: HAT gives ``eps / sqrt(1 - beta2^t)``, OUTSIDE that times the root.
    """
    names = {id(one): name for name, one in wanted.own.items()}
    given = [hypers[names[id(group["params"][0])]] for group in target.param_groups]

    def set_epsilon(optimizer: Any, *_: Any) -> None:
        for group, hyper in zip(optimizer.param_groups, given, strict=False):
            state = optimizer.state[group["params"][0]]
            t = 1 + (group["iterations"] if "iterations" in group else int(state["step"]))
            root = math.sqrt(1.0 - hyper.betas_at(1)[1] ** t)
            group["eps"] = hyper.eps / root if epsilon == HAT else hyper.eps * root

    return set_epsilon


def _check_groups(wanted: Held, hypers: Mapping[str, Hyper], target: Any) -> None:
    """ParityError where the target has one number for parameters that have several, or none of a kind."""
    if wanted.framework == "optax":
        return
    decayed = [one for one in hypers.values() if one.weight_decay]
    l2 = any(not one.decoupled for one in decayed)
    if l2 and wanted.framework == "keras" and wanted.epsilon == HAT:
        raise ParityError("Adam of Keras has no L2 weight decay, and the source has; nothing was carried")
    if l2 and wanted.framework == "torch" and wanted.epsilon == HAT:
        raise ParityError("parity.bridge.KerasAdam has no L2 weight decay, and the source has; nothing was carried")
    if wanted.framework == "torch":
        names = {id(one): name for name, one in wanted.own.items()}
        for number, group in enumerate(target.param_groups):
            found = {hypers[names[id(one)]] for one in group["params"]}
            if len(found) > 1:
                raise ParityError(f"group {number} of the target has parameters of {len(found)} groups of the source; "
                                  "give it the same groups; nothing was carried")  # fmt: skip
            if decayed and not l2 and wanted.epsilon == OUTSIDE and "decoupled_weight_decay" not in group:
                raise ParityError("this torch.optim.Adam has no decoupled weight decay; make the target an AdamW")
        return
    plain = {(one.lr, one.beta1, one.beta2, one.eps, one.amsgrad) for one in hypers.values()}
    if len(plain) > 1 or len({one.weight_decay for one in decayed}) > 1:
        raise ParityError("an optimizer of Keras has one set of hyperparameters, and the source has several groups; "
                          "nothing was carried")  # fmt: skip
    excluded = [name for name, one in hypers.items() if decayed and not one.weight_decay]
    held = [name for name, one in wanted.own.items() if decayed and not target._use_weight_decay(one)]
    if excluded != held:
        raise ParityError(f"the source decays no {', '.join(excluded or held)}; exclude_from_weight_decay says so to "
                          "Keras, before the optimizer is built; nothing was carried")  # fmt: skip


def _left(source: Any, models: tuple[Any, Any], wanted: Held, hypers: Mapping[str, Hyper]) -> Iterator[str]:
    """What stands around an Adam, and stays where it is."""
    for name in KERAS_ONLY:
        if getattr(source, name, None):
            yield f"{name} = {getattr(source, name)!r} of the source is no part of its Adam: the target needs its own"
    if hasattr(getattr(source, "_learning_rate", None), "get_config"):
        yield "the learning rate schedule of the source: lr is what it was at this step"
    if any(group.get("maximize") for group in getattr(source, "param_groups", ())):
        yield "maximize of the source: the target needs its own"
    extra = list(getattr(models[0], "non_trainable_variables", ())) or [
        name for name, _ in getattr(models[0], "named_buffers", lambda: ())()
    ]
    if extra:
        yield f"{len(extra)} variables of the model that no optimizer moves (averages of a normalization, seeds)"
    if wanted.framework == "optax":
        one = next(iter(hypers.values()))
        told = f"lr {one.lr!r}, b1 {one.beta1!r}, b2 {one.beta2!r}, weight decay {one.weight_decay!r}"
        yield f"hyperparameters, which belong to the transformation: {told}"
