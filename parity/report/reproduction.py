"""Commands and scripts that show again what a page, a terminal or a test tells."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.engine.findings import Finding, Topic
from parity.engine.plan import Cell
from parity.engine.record import Run
from parity.engine.result import Outcome


def run_command(cell: Cell, pair: tuple[str, str], case: str = "") -> str:
    """``parity run`` on one pair. case: the file it stands in, empty for a shipped one."""
    words = ["parity", "run", *([case] * bool(case))]
    if not case or "[" in cell.case.name:
        words += ["-k", cell.case.name]
    targets = {candidate.name: candidate.target for candidate in cell.candidates}
    for name in pair:
        words += ["-i", targets[name]]
    return shlex.join([*words, "-d", cell.dtype])


def explain_command(case: str, targets: Sequence[str], dtype: str) -> str:
    """``parity explain`` on one pair. case: a file, or the name of a shipped case."""
    return shlex.join(["parity", "explain", case, *targets, "-d", dtype])


def page_command(folder: Path) -> str:
    """``parity report`` on a run directory."""
    return shlex.join(["parity", "report", str(folder)])


def test_command(node_id: str) -> str:
    """``pytest`` on one test, for what only its own process can run."""
    return shlex.join(["pytest", node_id])


USUAL = {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0}
"""Hyperparameters that a script leaves as every framework has them."""

ZEROS = "all-zero"
"""The shipped case in which every gradient is 0."""

CONTRAST = "torch"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One optimizer: what it imports, and how one weight of it is moved.

    adam: the function ``name(w, gradients, dtype, lr, eps)``, which returns the weight after those steps; default: an
    expression for the eps that it has by itself.
    """

    imports: tuple[str, ...]
    name: str
    adam: str
    default: str


SNIPPETS = {
    "torch": Snippet(
        ("import torch",),
        "torch_adam",
        """\
def torch_adam(w, gradients, dtype, lr, eps):
    weight = torch.nn.Parameter(torch.tensor([w], dtype=getattr(torch, dtype)))
    optimizer = torch.optim.Adam([weight], lr=lr, eps=eps)
    for g in gradients:
        weight.grad = torch.full_like(weight, g)
        optimizer.step()
    return weight.item()
""",
        'inspect.signature(torch.optim.Adam).parameters["eps"].default',
    ),
    "keras": Snippet(
        ("import keras",),
        "keras_adam",
        """\
def keras_adam(w, gradients, dtype, lr, eps):
    weight = keras.Variable([w], dtype=dtype)
    optimizer = keras.optimizers.Adam(learning_rate=lr, epsilon=eps)
    for g in gradients:
        optimizer.apply([keras.ops.full((1,), g, dtype=dtype)], [weight])
    return float(keras.ops.convert_to_numpy(weight)[0])
""",
        'inspect.signature(keras.optimizers.Adam).parameters["epsilon"].default',
    ),
    "tf_keras.adam.legacy": Snippet(
        ("import tensorflow as tf", "import tf_keras"),
        "legacy_adam",
        """\
def legacy_adam(w, gradients, dtype, lr, eps):
    weight = tf.Variable([w], dtype=dtype)
    optimizer = tf_keras.optimizers.legacy.Adam(learning_rate=lr, epsilon=eps)
    for g in gradients:
        optimizer.apply_gradients([(tf.constant([g], dtype), weight)])
    return float(weight.numpy()[0])
""",
        'inspect.signature(tf_keras.optimizers.legacy.Adam).parameters["epsilon"].default',
    ),
    "tf_keras.adam.new": Snippet(
        ("import tensorflow as tf", "import tf_keras"),
        "tf_keras_adam",
        """\
def tf_keras_adam(w, gradients, dtype, lr, eps):
    weight = tf.Variable([w], dtype=dtype)
    optimizer = tf_keras.optimizers.Adam(learning_rate=lr, epsilon=eps, jit_compile=False)
    for g in gradients:
        optimizer.apply_gradients([(tf.constant([g], dtype), weight)])
    return float(weight.numpy()[0])
""",
        'inspect.signature(tf_keras.optimizers.Adam).parameters["epsilon"].default',
    ),
    "tensorflow": Snippet(
        ("import tensorflow as tf",),
        "tensorflow_adam",
        """\
def tensorflow_adam(w, gradients, dtype, lr, eps):
    weight, m, v = (tf.Variable([value], dtype=dtype) for value in (w, 0.0, 0.0))
    beta1, beta2, lr, eps = (tf.constant(value, dtype) for value in (0.9, 0.999, lr, eps))
    power1, power2 = beta1, beta2
    for g in gradients:
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle, m=m.handle, v=v.handle, beta1_power=power1, beta2_power=power2,
            lr=lr, beta1=beta1, beta2=beta2, epsilon=eps, grad=tf.constant([g], dtype),
        )
        power1, power2 = power1 * beta1, power2 * beta2
    return float(weight.numpy()[0])
""",
        'inspect.signature(tf.compat.v1.train.AdamOptimizer).parameters["epsilon"].default',
    ),
    "optax": Snippet(
        ("import jax", "import optax"),
        "optax_adam",
        """\
def optax_adam(w, gradients, dtype, lr, eps):
    jax.config.update("jax_enable_x64", dtype == "float64")
    weight = jax.numpy.array([w], dtype)
    optimizer = optax.adam(lr, eps=eps)
    state = optimizer.init(weight)
    for g in gradients:
        updates, state = optimizer.update(jax.numpy.full_like(weight, g), state, weight)
        weight = optax.apply_updates(weight, updates)
    return float(weight[0])
""",
        'inspect.signature(optax.adam).parameters["eps"].default',
    ),
}


def own_script(finding: Finding, run: Run) -> str:
    """A script that needs no parity; empty where a finding is not about what one weight of a framework does."""
    outcomes = _outcomes(finding, run)
    sides = _by_snippet(outcomes)
    if not sides or finding.worst is None:
        return ""
    case, dtype = finding.worst
    match finding.topic:
        case Topic.DEFAULTS:
            return _defaults(sides)
        case Topic.FORMULA if len(sides) == 2 and _two_formulas(finding, run, outcomes):
            # Where the gradient is as large as eps, the place and the value of eps matter most.
            gradient = max(_number(one, "eps") for one in sides.values()) or 1e-8
            return _steps(sides, 0.0, [gradient], dtype, in_lr=True)
        case Topic.STILL:
            with_contrast = {**sides, CONTRAST: sides.get(CONTRAST, next(iter(sides.values())))}
            return _steps(with_contrast, 0.0, [0.1] * 3, dtype)
        case Topic.NONFINITE if case == ZEROS:
            return _steps(sides, 0.5, [0.0], dtype)
    return ""


def _outcomes(finding: Finding, run: Run) -> list[Outcome]:
    """Of what a finding is about, in the place where it holds most; of a case, all of its cell."""
    found = [one for cell in run.cells if (cell.case, cell.dtype) == finding.worst for one in cell.outcomes]
    return found if finding.topic is Topic.DEFAULTS else [one for one in found if one.name in finding.names]


def _by_snippet(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """The first of every optimizer that has a snippet; with other betas, decay or AMSGrad there is none."""
    found: dict[str, Outcome] = {}
    for one in outcomes:
        key = one.name if one.name in SNIPPETS else one.name.partition(".")[0]
        usual = all(one.hyper[name] == value.hex() for name, value in USUAL.items()) and not one.hyper["amsgrad"]
        if key in SNIPPETS and usual and isinstance(one.hyper["lr"], str):
            found.setdefault(key, one)
    return found


def _two_formulas(finding: Finding, run: Run, outcomes: Sequence[Outcome]) -> bool:
    """Whether one step shows the difference: eps stands in two places, or is two numbers."""
    places = {run.conventions.get(name, name) for name in finding.names}
    return len(places) > 1 or len({str(one.hyper["eps"]) for one in outcomes}) > 1


def _steps(sides: dict[str, Outcome], weight: float, gradients: list[float], dtype: str, *, in_lr: bool = False) -> str:
    parts = ["\n".join(_imports(sides)), *(SNIPPETS[key].adam.rstrip() for key in sides)]
    lines = []
    for key, one in sides.items():
        lr, eps = _number(one, "lr"), _number(one, "eps")
        call = f"{SNIPPETS[key].name}({weight}, {gradients}, {dtype!r}, lr={lr}, eps={eps})"
        lines.append(f'print("{key}:", {call} / {lr}, "lr")' if in_lr else f'print("{key}:", {call})')
    return "\n\n\n".join([*parts, "\n".join(lines)]) + "\n"


def _defaults(sides: Iterable[str]) -> str:
    lines = [f'print("{key}:", {SNIPPETS[key].default})' for key in sides]
    return "\n".join(["import inspect", "", *_imports(sides), "", *lines]) + "\n"


def _imports(sides: Iterable[str]) -> list[str]:
    return sorted({line for key in sides for line in SNIPPETS[key].imports})


def _number(outcome: Outcome, name: str) -> float:
    return float.fromhex(str(outcome.hyper[name]))


SCRIPT = """\
import parity

outcome = parity.run(
    keyword={case!r},
    implementations={names!r},
    dtypes=[{dtype!r}],
    output="runs/shown",
)
for one in outcome.verdicts:
    print(one.actual, one.expected, one.verdict.kind, one.verdict.reason)
"""


def finding_command(finding: Finding, run: Run) -> str:
    """``parity explain`` for a pair, else ``parity run`` on the worst place; empty where there is none."""
    place = finding.worst
    if place is None:
        return ""
    case, dtype = place
    names = _names(finding, run)
    if len(names) == 2 and " / " in finding.subject:
        return explain_command(case, names, dtype)
    words = ["parity", "run", "-k", case, *(word for name in names for word in ("-i", name)), "-d", dtype]
    return shlex.join(words)


def finding_script(finding: Finding, run: Run) -> str:
    """The same as a Python script: without parity where one weight shows it, else with what parity ships."""
    place, names = finding.worst, _names(finding, run)
    script = own_script(finding, run)
    if script or place is None or not names or any(name.startswith("user.") for name in names):
        return script
    # One alone has nothing to be compared with.
    sides = list(names) if len(names) > 1 else [*names, "numpy.adam.outside"]
    return SCRIPT.format(case=place[0], dtype=place[1], names=sides)


def _names(finding: Finding, run: Run) -> Sequence[str]:
    """Implementations that the finding is about."""
    known = {outcome.name for cell in run.cells for outcome in cell.outcomes}
    return finding.names if known.issuperset(finding.names) else ()
