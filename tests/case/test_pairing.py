"""Which tensor of one recording is which of another."""

from __future__ import annotations

import numpy as np
import pytest

from parity.case.pairing import pair_parameters
from parity.case.recording import read_recording
from parity.core.errors import NothingCompared, ParityError


@pytest.fixture
def paired(write_recording):
    """Pair recordings of a step of these tensors: names of `expected` and what paired them by names of `actual`."""

    def pair(actual, expected, asked=None, **keys):
        sides = []
        for name, weights in (("actual", actual), ("expected", expected)):
            gradients = [{key: np.ones_like(one) for key, one in weights.items()}]
            sides.append(read_recording(write_recording(name, weights, gradients, **keys)))
        found = pair_parameters(*sides, asked)
        return {one.actual: (one.expected, one.by) for one in found.pairs}, found

    return pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_equal_values_are_found_whatever_they_are_called_and_however_they_lie(paired):
    kernel, conv = normal(3, 5), normal(3, 3, 2, 4, seed=1)
    actual = {"a": kernel, "b": conv}
    expected = {"x": conv.transpose(3, 2, 0, 1).copy(), "y": kernel.T.copy()}
    told, found = paired(actual, expected)
    assert told == {"a": ("y", "value"), "b": ("x", "value")}
    assert [one.turn for one in found.pairs] == [(1, 0), (2, 3, 1, 0)]
    assert [one.shape_expected for one in found.pairs] == [(5, 3), (4, 2, 3, 3)]
    for pair in found.pairs:
        flat = expected[pair.expected].reshape(-1)[pair.place]
        np.testing.assert_array_equal(flat, actual[pair.actual].reshape(-1))


def test_biases_that_are_all_zero_go_with_the_kernels_of_their_layers(paired):
    """Both sides have three of one size, in another order: the initial values say nothing, their layers do."""
    kernels = [normal(8, 8, seed=seed) for seed in range(3)]
    actual = {f"{n}.{what}": one for n in range(3) for what, one in (("weight", kernels[n]), ("bias", zeros(8)))}
    expected = {
        f"dense_{n}.{what}": one
        for n in (2, 0, 1)
        for what, one in (("bias", zeros(8)), ("kernel", kernels[n].T.copy()))
    }
    told, found = paired(actual, expected)
    assert told == {
        **{f"{n}.weight": (f"dense_{n}.kernel", "value") for n in range(3)},
        **{f"{n}.bias": (f"dense_{n}.bias", "layer") for n in range(3)},
    }
    assert not found.ambiguous


def test_layers_of_one_name_are_one(paired):
    """Normalisations all begin with ones and zeros, and have no kernel that would tell them apart."""
    actual = {f"{n}.norm.{what}": one for n in (0, 1) for what, one in (("weight", zeros(4) + 1), ("bias", zeros(4)))}
    expected = {f"{n}.norm.{what}": one for n in (1, 0) for what, one in (("beta", zeros(4)), ("gamma", zeros(4) + 1))}
    told, found = paired(actual, expected)
    words = {"weight": "gamma", "bias": "beta"}
    assert told == {f"{n}.norm.{one}": (f"{n}.norm.{other}", "layer") for n in (0, 1) for one, other in words.items()}
    assert not found.ambiguous


def test_where_layers_say_nothing_the_order_decides_and_is_told(paired):
    told, found = paired({"b1": zeros(8), "b2": zeros(8)}, {"x": zeros(8), "y": zeros(8)})
    assert told == {"b1": ("x", "order"), "b2": ("y", "order")}
    assert found.ambiguous == {"b1": ("x", "y")}


def test_a_name_is_better_than_the_order(paired):
    told, found = paired({"b1": zeros(8), "b2": zeros(8)}, {"b2": zeros(8), "b1": zeros(8)})
    assert told == {"b1": ("b1", "name"), "b2": ("b2", "name")}
    assert not found.ambiguous


def test_one_value_of_several_tensors_names_none_of_them(paired):
    """Of `expected` only the second bias still begins with zeros: it is not the first one of `actual`."""
    actual = {"0.weight": normal(4, 4), "0.bias": zeros(4), "1.weight": normal(4, 4, seed=1), "1.bias": zeros(4)}
    expected = {**actual, "0.bias": normal(4, seed=5)}
    expected = {name.replace(".", "_."): one for name, one in expected.items()}
    told, _ = paired(actual, expected)
    assert told["0.bias"] == ("0_.bias", "layer")
    assert told["1.bias"] == ("1_.bias", "layer")


def test_a_map_is_obeyed_and_a_square_tensor_lies_as_its_values_say(paired):
    kernel = normal(4, 4)
    told, found = paired({"a": kernel, "b": zeros(4)}, {"x": kernel.T.copy(), "y": zeros(4)}, {"a": "x"})
    assert told == {"a": ("x", "map"), "b": ("y", "value")}
    assert found.pairs[0].turned


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"a": "x", "b": "x"}, "map: 'x' is asked for twice"),
        ({"a": "z"}, "no parameter 'z' in recording 'expected'; allowed: x, y"),
        ({"a": "y"}, r"'a' \[4, 4\] and 'y' \[5\] are of no common shape"),
    ],
)
def test_a_map_that_cannot_be_obeyed_is_one_line(paired, asked, told):
    with pytest.raises(ParityError, match=told):
        paired({"a": normal(4, 4), "b": normal(4, 4, seed=1)}, {"x": normal(4, 4), "y": zeros(5)}, asked)


def test_nothing_in_common_says_why(paired, write_recording):
    with pytest.raises(NothingCompared, match=r"actual and expected have no parameter in common$"):
        paired({"a": zeros(3)}, {"x": zeros(4)})
    whole = {"a": normal(40, 5)}
    sides = [
        read_recording(write_recording(name, whole, [whole], elements=elements))
        for name, elements in (("all", None), ("some", 10))
    ]
    with pytest.raises(
        NothingCompared, match=r"other elements of their tensors were kept \(all and elements=10, seed=0"
    ):
        pair_parameters(*sides)
