"""A framework's square root, asked in its process: right shapes and bits, and never far from the truth."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from parity.core.environment import describe_environment
from parity.core.errors import ParityError
from parity.engine.square_root import SMALLEST, LibrarySquareRoot
from parity.numerics.formats import FORMATS
from parity.numerics.ulp import ulp_distance

PLUGIN = """
import numpy as np
from parity import Implementation

def run(weights, gradients, hyper):
    yield from ()

def root(values):
    return {body}

adam = Implementation("rooted", run, square_root=root)
"""


@pytest.fixture
def rooted(tmp_path):
    """A plug-in whose square root is an expression of `values`; its target."""

    def write(body):
        path = tmp_path / "rooted.py"
        path.write_text(PLUGIN.format(body=body))
        return f"{path}:adam"

    return write


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_blocks_of_any_shape_and_dtype(rooted, format):
    with LibrarySquareRoot(rooted("np.sqrt(values)")) as root:
        for shape in ((), (5,), (2, 3), (0,), (SMALLEST + 1,)):
            values = np.linspace(0, 3, int(np.prod(shape)), dtype=np.float64).astype(format.dtype).reshape(shape)
            found = root(values)
            assert found.dtype == values.dtype
            assert found.shape == shape
            np.testing.assert_array_equal(found, np.sqrt(values))


def test_one_ulp_is_a_library_two_are_an_error(rooted):
    values = np.array([2.0, 3.0], np.float32)
    with LibrarySquareRoot(rooted("np.nextafter(np.sqrt(values), np.float32(9))")) as root:
        assert (ulp_distance(root(values), np.sqrt(values)) == 1).all()
    two = "np.nextafter(np.nextafter(np.sqrt(values), np.float32(9)), np.float32(9))"
    with LibrarySquareRoot(rooted(two)) as root, pytest.raises(ParityError, match=r"sqrt\(2\) = 1.41421; allowed: at"):
        root(values)


def test_it_may_write_into_what_it_is_given(rooted):
    values = np.array([4.0, 9.0])
    with LibrarySquareRoot(rooted("np.sqrt(values, out=values)")) as root:
        np.testing.assert_array_equal(root(values), [2.0, 3.0])
        np.testing.assert_array_equal(values, [4.0, 9.0])


@pytest.mark.parametrize(
    ("body", "told"),
    [("1 / 0", "ZeroDivisionError"), ("__import__('os')._exit(3)", "died .exit status 3."), ("values[:1]", "wrong")],
)
def test_a_failure_is_one_line(rooted, body, told):
    with LibrarySquareRoot(rooted(body)) as root, pytest.raises(ParityError, match=told) as caught:
        root(np.array([4.0, 9.0]))
    assert "\n" not in str(caught.value)


def test_an_implementation_without_one_says_so():
    with (
        LibrarySquareRoot("numpy.adam.outside") as root,
        pytest.raises(ParityError, match=r"numpy\.adam\.outside offers no square root of its own"),
    ):
        root(np.ones(1))


RECIPROCALS = ("keras.adam.xla", "keras_jax.adam.jit", "optax.adam.jit")


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("target", RECIPROCALS)
def test_a_reciprocal_root_of_xla_is_within_two_ulp_and_a_quotient_only_without_an_instruction(target, dtype):
    values = np.random.default_rng(0).random((3, 1366)).astype(dtype)
    with LibrarySquareRoot(target, reciprocal=True) as root:
        found = root(values)
        parts = np.stack([root(row) for row in values])
        edges = root(np.array([0.0, np.inf, np.nan, np.finfo(dtype).smallest_subnormal], dtype))
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert (ulp_distance(found, (1 / np.sqrt(values.astype(np.longdouble))).astype(dtype)) <= 2).all()
    # Of a double only AVX-512 has an approximation, which is refined.
    refined = dtype is np.float32 or "avx512f" in describe_environment()["cpu_flags"]
    assert (found != 1 / np.sqrt(values)).any() == refined
    np.testing.assert_array_equal(found, parts)
    np.testing.assert_array_equal(edges[:3], [np.inf, 0, np.nan])


def test_three_ulp_from_a_reciprocal_are_an_error(tmp_path):
    path = tmp_path / "rooted.py"
    path.write_text(PLUGIN.format(body="values.view('u4') + np.uint32(3)").replace("square_root", "reciprocal_root"))
    told = r"1 / sqrt\(4\) = 4; allowed: at most 2 ULP from the correctly rounded reciprocal"
    with LibrarySquareRoot(f"{path}:adam", reciprocal=True) as root, pytest.raises(ParityError, match=told):
        root(np.array([4.0], np.float32))


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_torch_is_within_one_ulp(dtype):
    values = np.random.default_rng(0).random(4099).astype(dtype)
    with LibrarySquareRoot("torch.adam.forloop") as root:
        found = root(values)
    assert found.dtype == values.dtype
    assert (ulp_distance(found, np.sqrt(values)) <= 1).all()


def test_a_root_that_is_remembered_is_a_copy_of_its_own_shape(rooted):
    with LibrarySquareRoot(rooted("np.sqrt(values)")) as root:
        values = np.array([1.0, 4.0, 9.0, 16.0])
        first = root(values)
        first[:] = 0
        np.testing.assert_array_equal(root(values.reshape(2, 2)), [[1, 2], [3, 4]])
        np.testing.assert_array_equal(root(values.astype(np.float32)), np.array([1, 2, 3, 4], np.float32))
        # The bits, not the numbers: those of another dtype are others.
        bits = values.view(np.float32)
        np.testing.assert_array_equal(root(bits), np.sqrt(bits))
