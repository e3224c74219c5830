"""What is installed beside the pins, and how they are told apart."""

from __future__ import annotations

import pytest

from parity.baseline.environments.pins import beside, is_exact, normal, parse_pins
from parity.core.errors import ParityError


def parsed(*pins):
    return parse_pins(pins, "--before")


def test_they_have_one_spelling():
    assert list(map(normal, parsed("TF_Keras == 2.16.0", "keras>=3, <4", "tensorflow-cpu"))) == [
        "keras<4,>=3",
        "tensorflow-cpu",
        "tf-keras==2.16.0",
    ]
    (marked,) = parsed("jax[ci, b] == 1 ; python_version > '3'")
    assert normal(marked) == 'jax[b,ci]==1; python_version > "3"'


@pytest.mark.parametrize("beneath", ["tensorflow-cpu==2.21.0", "torch==2.13.0", "jax==0.10.2"])
def test_keras_may_stand_on_any_of_its_three(beneath):
    assert len(parsed("keras==3.15.1", beneath)) == 2
    with pytest.raises(ParityError, match=r", torch for keras_torch\.\*, jax for keras_jax\.\*$"):
        parsed("keras==3.15.1", "numpy")


@pytest.mark.parametrize(
    ("pin", "exact"), [("jax==0.4.30", True), ("jax==0.4.*", False), ("jax>=0.4", False), ("jax", False)]
)
def test_one_release_or_many(pin, exact):
    assert is_exact(*parsed(pin)) is exact


def test_numpy_and_ml_dtypes_are_always_there_and_a_pin_of_them_stands():
    assert beside(parsed("optax==0.2.8")) == ["numpy", "ml_dtypes"]
    assert beside(parsed("optax==0.2.8", "numpy==1.26.4")) == ["ml_dtypes"]
    assert beside(parsed("ML-dtypes==0.5", "NumPy<2")) == []


@pytest.mark.parametrize(
    ("pins", "bounds"),
    [
        (("jax==0.4.25",), ["numpy<2", "scipy<1.13"]),
        (("jax==0.4.25", "jaxlib==0.4.25"), ["numpy<2", "scipy<1.13"]),
        (("jax==0.4.25", "scipy==1.12"), ["numpy<2"]),
        (("torch==2.2.2",), ["numpy<2"]),
        (("torch==2.1.2",), ["setuptools<70", "numpy<2"]),
        (("keras==3.3.3", "jax==0.10.2"), ["packaging"]),
        (("jax==0.4.26",), []),
        (("jax<0.4.26",), []),
    ],
)
def test_releases_that_forgot_a_bound_get_it(pins, bounds):
    assert beside(parsed(*pins)) == ["numpy", "ml_dtypes", *bounds]


def test_nothing_is_bounded_beside_a_pinned_numpy():
    assert "numpy<2" not in beside(parsed("jax==0.4.25", "numpy==1.25"))
