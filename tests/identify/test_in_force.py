"""The bit-exact search goes on from what was read, where others are in force than hyperparameters that were asked."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from parity.engine.candidates import candidate_of, describe_plugin
from parity.identify.identify import answers, identify
from parity.identify.probed import Probed
from parity.numerics.formats import FORMATS

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from exchangeable_adam import Adam
from pairs import family_of, orbits
from wrong_adams import WRONG

pytestmark = pytest.mark.thorough


PLAIN = "if hyper.weight_decay or hyper.amsgrad: raise Unsupported('plain Adam only')"

HYPERPARAMETERS = [
    *("lr_off", "lr_of_the_first_step", "lr_in_bfloat16", "beta1_off", "beta2_off", "betas_default"),
    *("epsilon_default", "epsilon_ignored", "epsilon_tenfold", "epsilon_underflow", "epsilon_zero_is_default"),
    *("decay_ignored", "decay_coupled", "decay_decoupled", "amsgrad_ignored"),
]
CORRECTIONS = [
    *("uncorrected", "uncorrected_m", "uncorrected_v", "correction_without_power"),
    *("step_behind", "step_ahead", "step_stuck", "step_saturates", "step_saturates_late"),
]
TWO = ["lr_off uncorrected_v", "step_ahead beta2_off", "decay_coupled step_behind", "uncorrected_m epsilon_hat"]


def found(run, dtype):
    """What is said of a run function, asked in this process."""
    with np.errstate(all="ignore"):
        shown = Probed(orbits(run, dtype))
        return answers(candidate_of("numpy.adam.outside"), {dtype: shown})[dtype]


def both(names):
    """Two faults in one."""
    one, other = (WRONG[name].run for name in names.split())
    changed = {name: getattr(other, name) for name in Adam.__dataclass_fields__}
    return replace(one, **{name: stage for name, stage in changed.items() if stage is not getattr(Adam(), name)})


# This one divides beta^t by beta in float64, which rounds otherwise than beta^(t - 1).
OF_ITS_OWN = ("step_behind", "float64")


BOTH = ["float32", "float64"]
EACH = [
    # Each in one dtype; in the other, the sweeps ask.
    pytest.param(name, dtype, marks=pytest.mark.exhaustive if dtype == BOTH[number % 2] else ())
    for (number, name), dtype in product(enumerate([*HYPERPARAMETERS, *CORRECTIONS]), BOTH)
    if (name, dtype) != OF_ITS_OWN
]


@pytest.mark.parametrize(("name", "dtype"), EACH)
def test_an_adam_of_other_hyperparameters_or_another_correction_is_known_bit_for_bit(name, dtype):
    answer = found(WRONG[name].run, dtype)
    assert {one.family for one in answer.departures} == {family_of(name)}
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)
    assert answer.arithmetic is not None
    assert answer.residual["elements"] > 300_000


@pytest.mark.parametrize(
    ("name", "undecided"),
    {"lr_off": set(), "decay_ignored": {"decay_gradient", "decay_weights"}, "amsgrad_ignored": {"maximum"}}.items(),
)
def test_a_choice_that_nothing_shows_is_not_told(name, undecided):
    arithmetic = found(WRONG[name].run, "float32").arithmetic
    never = {"lanes", "rows", "clipping", "reduction", "averaging", "threads", "grain", "shards"}
    assert {choice for choice, value in arithmetic.items() if value is None} == undecided | never


@pytest.mark.parametrize("names", TWO)
def test_two_at_once_are(names):
    answer = found(both(names), "float32")
    assert {one.family for one in answer.departures} == {WRONG[name].family for name in names.split()}
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)


@pytest.mark.parametrize("name", ["correction_twice", "correction_inverted", "correction_beside_root"])
def test_what_no_power_of_beta_corrects_is_known_to_within_rounding(name):
    answer = found(WRONG[name].run, "float32")
    assert {one.family for one in answer.departures} == {"bias-correction"}
    assert (answer.verdict, answer.arithmetic, answer.twin) == ("explained", None, None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["epsilon_tenfold", "uncorrected", "step_behind", "step_stuck"])
def test_in_the_half_types_too(name, dtype):
    answer = found(WRONG[name].run, dtype)
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)


@pytest.fixture
def plugin(tmp_path, write_adam):
    """What is said of a plug-in, in processes of its own, with pieces swapped."""

    def identified(*swap, dtype="float32"):
        target = describe_plugin(str(write_adam(first=PLAIN, swap=swap)), tmp_path / "logs", 60)
        return identify(target, [dtype])[dtype]

    return identified


@pytest.mark.parametrize("dtype", FORMATS)
def test_its_numbers_are_told_beside_its_bits(plugin, dtype):
    answer = plugin(("hyper.lr_at(t)", "2 * hyper.lr_at(t)"), dtype=dtype)
    assert [one.detail for one in answer.departures] == ["lr in force is 2 times what was asked"]
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)


def test_one_that_forms_them_with_a_rounding_of_its_own_is_known_to_within_rounding(plugin):
    answer = plugin(("f(hyper.lr_at(t))", "f(hyper.lr_at(t)) * f(1.01)"))
    assert [one.detail for one in answer.departures] == ["lr in force is 1.01 times what was asked"]
    assert (answer.verdict, answer.arithmetic) == ("explained", None)


def test_bits_of_other_betas_and_groups_are_asked_for_beside_another_correction(plugin):
    answer = plugin(("m_hat = m[name] / f(1 - hyper.beta1**t)", "m_hat = m[name]"))
    assert [one.detail for one in answer.departures] == ["m is used without bias correction"]
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)
