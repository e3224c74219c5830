"""optax.adam, adamw and amsgrad on JAX's CPU backend: operation by operation, and compiled as one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import END, NO_STAGES, RISE, START, ClipBy, Decay, Stages
from parity.core.state import State
from parity.implementations.implementation import WHOLE, Gradients, Implementation, Leg, constant_betas, one_count
from parity.implementations.jax_memory import double_enabled, jax_module, reciprocal_root

Arrays = dict[str, Any]

MESSAGE, LEAVES = "state.msgpack", "state.npz"


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
    *,
    jit: bool = False,
    make: Callable[[Hyper], Any] | None = None,
) -> Iterator[State]:
    """The orbit of optax's Adam; jit: whether update and apply_updates are compiled as one function.

    Per parameter w with gradient g, and t counting all steps (`count`)::

        g = g + weight_decay * w                            L2: chain(add_decayed_weights, adam)
        m = (1 - beta1) * g + beta1 * m                     mu
        v = (1 - beta2) * g**2 + beta2 * v                  nu
        m_hat = m / (1 - beta1**t),  v_hat = v / (1 - beta2**t)
        vmax = max(vmax, v_hat),  v_hat = vmax              nu_max, AMSGrad, after the correction
        u = m_hat / (sqrt(v_hat) + eps)
        w = w - lr * (u + weight_decay * w)                 decoupled: adamw, one sum with the update

    The decay of adamw is (1 - lr * weight_decay) * w in real arithmetic, as it multiplies the w from
    before the update. 1 - beta and -lr are formed in double and rounded to the dtype of w, as Python
    floats are in JAX; 1 - beta**t is formed in float32 and then rounded, for float64 in float64.
    lr: a constant, or where it differs by step a schedule that indexes an array by the count.
    weights, states: float64 (under `enable_x64`, for these runs alone: it would move the bias
    correction of the others to float64), float32, float16 or bfloat16, any shape; states are
    read-only and keep their values. start: replaces mu, nu and count, which has to be one for all; a
    schedule begins at its start. An average of the weights is that of `optax.ema(momentum)`, which begins at 0 and is
    divided by 1 - momentum**t, updated with the weights after every step. Masters: parameters and gradients in float32,
    the model's weights cast from them; a wide m: ``mu_dtype``. make: another transformation. leg: the leaves of weights
    and state,
    by flax.serialization where there is flax, else as NumPy arrays.
    Raises Unsupported: before the first state for AMSGrad where the release of optax has none, and for a start under
    AMSGrad, whose maximum is another quantity here; at a step with a gradient of None, which optax refuses (jax.grad
    gives zeros).
    Source: optax/_src/alias.py, optax/_src/transform.py, optax/transforms/_adding.py and
    optax/tree_utils/_tree_math.py, optax 0.2.8 on JAX 0.10.2.
    Differs from: torch, in the maximum of AMSGrad, in counting t for all parameters together, and in
    flushing subnormals, as XLA does.
    """
    jax, optax = _modules()
    masters = "" if stages.state is None else stages.state.master
    double = any(array.dtype == np.float64 for array in weights.values())
    optimizer, step_of = _step(hyper, jit, make or _optimizer)
    # Not for the whole generator: a context that is open at a yield would be open for the caller too.
    with double_enabled(double):
        parameters = {name: jax.device_put(np.asarray(array, order="C")) for name, array in weights.items()}
        if masters:
            parameters = {name: one.astype(masters) for name, one in parameters.items()}
        state = optimizer.init(parameters)
        if start is not None:
            state = _begun(state, start, hyper, weights)
        averaged = optax.ema(stages.average.momentum) if stages.average is not None else optax.identity()
        kept = averaged.init(parameters)
        if leg.load is not None:
            parameters, state, kept = _loaded(leg.load, (parameters, state, kept))
    for step, gradient in enumerate(gradients, start=leg.first):
        for name in weights:
            if gradient[name] is None:
                raise Unsupported(
                    f"optax: {name!r} has no gradient at step {step}; optax takes no None, jax.grad gives zeros"
                )
        with double_enabled(double):
            # device_put stands on aligned memory and copies from other; the arrays made below wait for its readers.
            given = {name: jax.device_put(np.asarray(gradient[name], order="C")) for name in weights}
            if masters:
                given = {name: one.astype(masters) for name, one in given.items()}
            parameters, state = step_of(given, state, parameters)
            average, kept = averaged.update(parameters, kept)
            model = parameters
            if masters:
                model = {name: parameters[name].astype(array.dtype) for name, array in weights.items()}
        moments = _moments(state)
        # Where others than Adam keep some of the tensors, or one number for each, there is no moment to show.
        m, v, vmax = (
            _show(moments[key], weights) if set(weights) <= set(moments.get(key, ())) else None
            for key in ("mu", "nu", "nu_max")
        )
        shown = _show(average, weights) if stages.average is not None else None
        yield State(_show(model, weights), m, v, vmax, average=shown)

    if leg.save is not None:
        _save(leg.save, (parameters, state, kept))


def _begun(state: Any, start: State, hyper: Hyper, names: Iterable[str]) -> Any:
    """The state with moments and count of the one transformation in a chain that keeps them."""
    jax, _ = _modules()
    if hyper.amsgrad:
        raise Unsupported("optax: AMSGrad keeps the maximum of the corrected moment; no other's can be its start")
    if isinstance(state, tuple) and not hasattr(state, "mu"):
        parts = [_begun(part, start, hyper, names) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    if not hasattr(state, "mu"):
        return state
    m, v = ({name: jax.device_put(np.array(arrays[name])) for name in names} for arrays in (start.m, start.v))  # type: ignore[index]
    return state._replace(mu=m, nu=v, count=jax.numpy.asarray(one_count(start, "optax"), state.count.dtype))


def _save(folder: Path, kept: Any) -> None:
    jax, _ = _modules()
    if importlib.util.find_spec("flax") is not None:
        serialization = importlib.import_module("flax.serialization")
        (folder / MESSAGE).write_bytes(serialization.to_bytes(kept))
        return
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(kept)]
    # As bytes: half-precision numbers come back from a file of NumPy's as nothing that has a name.
    np.savez(folder / LEAVES, *(np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves))


def _loaded(folder: Path, like: Any) -> Any:
    jax, _ = _modules()
    if (folder / MESSAGE).is_file():
        serialization = importlib.import_module("flax.serialization")
        return jax.tree.map(jax.device_put, serialization.from_bytes(like, (folder / MESSAGE).read_bytes()))
    leaves, tree = jax.tree.flatten(like)
    with np.load(folder / LEAVES, allow_pickle=False) as kept:
        found = [
            np.frombuffer(kept[f"arr_{place}"].tobytes(), leaf.dtype).reshape(leaf.shape)
            for place, leaf in enumerate(leaves)
        ]
    return jax.tree.unflatten(tree, [jax.device_put(one.copy()) for one in found])


def _moments(state: Any) -> dict[str, Arrays]:
    """mu, nu and nu_max of the transformations that keep them, one or one of each kind of parameters.

    A chain's state is a tuple of states, and `multi_transform` keeps those of its rules by name, each with nothing for
    the parameters of the others.
    """
    kept = {key: getattr(state, key) for key in ("mu", "nu", "nu_max") if hasattr(state, key)}
    if kept:
        return {
            key: {name: one for name, one in arrays.items() if hasattr(one, "shape")} for key, arrays in kept.items()
        }
    found: dict[str, Arrays] = {}
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, tuple) else ()
    for part in parts:
        for key, arrays in _moments(part).items():
            found.setdefault(key, {}).update(arrays)
    return found


def _show(arrays: Arrays, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Views, in the order of the names: JAX hands a dict back in the order of its sorted keys."""
    return {name: np.asarray(arrays[name]) for name in names}


class _Step(NamedTuple):
    """An optax transformation, and (gradients, state, weights) -> (weights, state) by it."""

    optimizer: Any
    step: Callable[[Arrays, Any, Arrays], tuple[Arrays, Any]]


@lru_cache(maxsize=64)
def _step(hyper: Hyper, jit: bool, make: Callable[[Hyper], Any]) -> _Step:
    """One function per configuration, as compiled code belongs to the function; it keeps no state."""
    jax, optax = _modules()
    optimizer = _with_stages(_of_groups(hyper, make), hyper.stages)
    # Their `lax.cond` is compiled whole, and of itself anew at every step, until the process has no memory to map.
    chooses = hyper.stages.accumulate > 1 or hyper.stages.loss_scale is not None
    update = jax.jit(optimizer.update) if chooses else optimizer.update

    def step(gradients: Arrays, state: Any, parameters: Arrays) -> tuple[Arrays, Any]:
        updates, state = update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    return _Step(optimizer, jax.jit(step) if jit else step)


def _of_groups(hyper: Hyper, make: Callable[[Hyper], Any]) -> Any:
    """One transformation for all parameters, or one for each kind of them."""
    _, optax = _modules()
    if not hyper.groups:
        return make(hyper)
    kinds = {"": hyper.of(""), **dict(hyper.groups)}
    rules = {name: make(own) for name, own in kinds.items()}
    return optax.multi_transform(rules, lambda parameters: {name: name if name in kinds else "" for name in parameters})


def _with_stages(transformation: Any, stages: Stages) -> Any:
    """What a user puts around it: clipping before it, then accumulation, and last what leaves steps out."""
    _, optax = _modules()
    if stages.rows:
        raise Unsupported("optax: it takes no gradient as rows; that of an embedding, by jax.grad, is dense")
    if stages.maximize:
        transformation = optax.chain(optax.scale(-1.0), transformation)
    clip = stages.clip
    if clip is not None:
        if clip.by is ClipBy.NORM:
            raise Unsupported("optax: it clips elements and the norm of all tensors together, not that of each")
        held = optax.clip if clip.by is ClipBy.VALUE else optax.clip_by_global_norm
        transformation = optax.chain(held(clip.limit), transformation)
    if stages.accumulate > 1:
        transformation = optax.MultiSteps(transformation, stages.accumulate).gradient_transformation()
    if stages.loss_scale is not None:
        if stages.loss_scale.initial != 1:
            raise Unsupported("optax: it has no loss scale; apply_if_finite leaves steps out, as initial = 1 does")
        transformation = optax.apply_if_finite(transformation, max_consecutive_errors=1 << 30)
    if stages.average is not None and stages.average.overwrite:
        raise Unsupported("optax: nothing in it overwrites weights by their average")
    return transformation


def _rate(hyper: Hyper) -> Any:
    """lr, or what gives that of a step."""
    _, optax = _modules()
    schedule = hyper.stages.schedule
    if schedule is None:
        return _schedule(hyper.lr) if isinstance(hyper.lr, tuple) else hyper.lr
    if isinstance(hyper.lr, tuple):
        raise Unsupported("optax: a schedule begins with one lr")
    match schedule.decay:
        case Decay.COSINE:
            return optax.cosine_decay_schedule(hyper.lr, schedule.steps, schedule.floor)
        case Decay.EXPONENTIAL:
            return optax.exponential_decay(hyper.lr, schedule.steps, schedule.rate)
        case Decay.ONE_CYCLE:
            return optax.cosine_onecycle_schedule(schedule.steps, hyper.lr, RISE, START, END)
    raise Unsupported(f"optax: it has no schedule of {schedule.decay.replace('_', ' ')} decay")


def _optimizer(hyper: Hyper) -> Any:
    """What a user composes for these hyperparameters."""
    _, optax = _modules()
    rate = _rate(hyper)
    # optax's own betas change by inject_hyperparams, whose arithmetic is another.
    beta1, beta2 = constant_betas(hyper, "optax")
    betas = {"b1": beta1, "b2": beta2, "eps": hyper.eps, **_first_moment(hyper)}
    decay = hyper.weight_decay
    if decay and hyper.decoupled and hyper.amsgrad:
        maximum, scale = _newer("scale_by_amsgrad"), _newer("scale_by_learning_rate")
        return optax.chain(maximum(**betas), optax.add_decayed_weights(decay), scale(rate))
    if decay and hyper.decoupled:
        return _adamw(hyper)
    adam = (_newer("amsgrad") if hyper.amsgrad else optax.adam)(rate, **betas)
    return optax.chain(optax.add_decayed_weights(decay), adam) if decay else adam


def _adamw(hyper: Hyper) -> Any:
    """optax.adamw for these hyperparameters, Unsupported where it cannot have them."""
    if hyper.amsgrad or (hyper.weight_decay and not hyper.decoupled):
        raise Unsupported(f"optax.adamw has no {'AMSGrad' if hyper.amsgrad else 'L2, its weight decay is decoupled'}")
    _, optax = _modules()
    beta1, beta2 = constant_betas(hyper, "optax")
    return optax.adamw(_rate(hyper), b1=beta1, b2=beta2, eps=hyper.eps, weight_decay=hyper.weight_decay,
                       **_first_moment(hyper))  # fmt: skip


def _first_moment(hyper: Hyper) -> dict[str, str]:
    """mu_dtype, where it is asked for; Unsupported where a wide second moment is."""
    wide = hyper.stages.state
    if wide is None or wide.master:
        return {}
    if wide.v:
        raise Unsupported("optax: mu_dtype is that of the first moment alone; nu has the dtype of the weights")
    return {"mu_dtype": wide.m}


def wrapped(make: Callable[[Hyper], Any], name: str) -> Implementation:
    """Any optax transformation as an implementation: ``make(hyper)`` builds it; mu, nu and nu_max are shown."""
    return Implementation(name, run, needs=("jax", "optax"), options=MappingProxyType({"make": make}))


def made_by(factory: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[Hyper], Any]:
    """What calls one of optax's own with the hyperparameters that it takes; Unsupported for others."""
    taken = inspect.signature(factory).parameters
    called = getattr(factory, "func", factory).__name__

    def make(hyper: Hyper) -> Any:
        beta1, beta2 = constant_betas(hyper, "optax")
        rate = _rate(hyper)
        usual = Hyper()
        asked = {"b1": (beta1, usual.beta1), "b2": (beta2, usual.beta2), "eps": (hyper.eps, usual.eps),
                 "weight_decay": (hyper.weight_decay, 0.0)}  # fmt: skip
        for key, (value, own) in asked.items():
            if key not in taken and value != own:
                raise Unsupported(f"{called} takes no {key}")
        if hyper.amsgrad or (hyper.weight_decay and not hyper.decoupled):
            raise Unsupported(f"{called} has no {'AMSGrad' if hyper.amsgrad else 'L2 weight decay'} to switch on")
        return factory(rate, **{key: value for key, (value, _) in asked.items() if key in taken}, **options)

    return make


def _newer(name: str) -> Any:
    """What optax did not always have; Unsupported where the release has it not."""
    _, optax = _modules()
    if not hasattr(optax, name):
        raise Unsupported(f"optax {optax.__version__} has no {name}")
    return getattr(optax, name)


def _schedule(rates: tuple[float, ...]) -> Callable[[Any], Any]:
    def rate(count: Any) -> Any:
        import jax.numpy

        return jax.numpy.asarray(rates)[count]

    return rate


def _modules() -> tuple[Any, Any]:
    """The modules jax and optax."""
    jax = jax_module()
    import optax

    return jax, optax


def _variant(name: str, jit: bool, **options: Any) -> Implementation:
    return Implementation(
        name=f"optax.{name}",
        run=run,
        framework="jax",
        needs=("jax", "optax"),
        options=MappingProxyType({"jit": jit, **options}),
        convention="outside",
        defaults=Hyper(eps=1e-8, weight_decay=1e-4, decoupled=True) if options else Hyper(eps=1e-8),
        reciprocal_root=reciprocal_root if jit else None,
        representative=name == "adam.jit",
        load=_modules,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _variant("adam.plain", jit=False),
    _variant("adam.jit", jit=True),
    _variant("adamw.plain", jit=False, make=_adamw),
    _variant("adamw.jit", jit=True, make=_adamw),
)
