"""Keras on torch and on JAX, each in a process of its own: all that holds of every row, and what is theirs alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity.implementations.keras_backend import BACKENDS
from parity.implementations.registry import shipped_implementations

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900), pytest.mark.thorough]

HERE = Path(__file__).parent

TWO_DTYPES = """
import sys, numpy as np, keras
from orbits import BFLOAT16
from parity.core.hyper import Hyper
from parity.implementations.registry import shipped_implementations

def moved(order):
    weights = {str(place): np.full(3, 0.125, dtype) for place, dtype in enumerate(order)}
    gradients = [{name: np.ones_like(array) for name, array in weights.items()}] * 3
    row = shipped_implementations()[sys.argv[1]]
    ours = [{name: np.array(one) for name, one in state.w.items()} for state in row.states(weights, gradients, Hyper())]
    variables = [keras.Variable(array, dtype=array.dtype.name) for array in weights.values()]
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(one) for one in gradient.values()], variables)
    theirs = [np.array(keras.ops.convert_to_numpy(one)) for one in variables]
    assert [one.tobytes() for one in ours[-1].values()] == [one.tobytes() for one in theirs]
    return [bool((one != 0.125).any()) for one in theirs]

print(moved([BFLOAT16, np.dtype("float32")]), moved([np.dtype("float32"), BFLOAT16]))
"""


def in_own_process(backend, *arguments):
    variables = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, *arguments], env=variables, capture_output=True, text=True, check=False, cwd=HERE.parents[1]
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_all_that_holds_of_every_row_holds_of_these(backend):
    rows = [name for name, one in shipped_implementations().items() if one.options.get("backend") == backend]
    files = [str(HERE / name) for name in ("test_every_row.py", "test_groups.py", "test_keras_adam.py")]
    told = in_own_process(backend, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"keras_{backend}.", *files)
    passed = int(re.search(r"(\d+) passed", told)[1])
    assert passed >= 55 * len(rows)
    assert "skipped" not in told


@pytest.mark.parametrize(
    ("row", "bfloat16_first", "float32_first"),
    [
        # The scalars of all are in the dtype of the first, where beta2 = 0.999 is 1 or is not.
        ("keras_torch.adam.eager", [False, False], [True, True]),
        ("keras_jax.adam.eager", [False, True], [True, False]),
        ("keras_jax.adam.jit", [False, True], [True, False]),
    ],
)
def test_who_moves_in_a_model_of_two_dtypes(row, bfloat16_first, float32_first):
    backend = shipped_implementations()[row].options["backend"]
    told = in_own_process(backend, "-c", TWO_DTYPES, row)
    assert told.strip().splitlines()[-1] == f"{bfloat16_first} {float32_first}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_asks_for_the_cpu_and_for_its_own_keras(backend):
    """The variable that a user has set for another backend does not count, as each has a process of its own."""
    other = next(name for name in BACKENDS if name != backend)
    program = f"from parity.implementations.keras_backend import BACKENDS; on = BACKENDS[{backend!r}]; import os\n"
    program += "print(on.keras().backend.backend(), *[os.environ[name] for name in on.device])"
    told = in_own_process(other, "-c", program).split()
    assert told == [backend, *BACKENDS[backend].device.values()]
