"""What a trace is taken for that its claimed twin does not reproduce: the same with a choice made otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.adam.forms import FirstMoment, Reduction, Update
from parity.adam.twins import EARLIER, TWINS
from parity.case.catalogue import select_cases
from parity.comparison.trace import create_rows, write_header
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.running import Adam, free_run
from parity.explain.standing import Source, standing_of
from parity.numerics.formats import format_named, to_bits

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

CLAIMED = "keras.adam.eager"


@pytest.fixture
def held(tmp_path):
    """A trace as a twin makes it on a shipped case, under the name of an implementation: what it is taken for."""

    def stand(twin, case, dtype, name=CLAIMED):
        (asked,) = (one for one in select_cases() if one.name == case)
        format = format_named(dtype)
        inputs, hyper = Inputs(asked, format), asked.hyper_for(Hyper())
        with Libraries(60.0, "", {}) as libraries:
            adam = Adam(twin.in_force(hyper, asked.steps, format), twin, libraries.for_twin(name, twin.arithmetic))
            begun = inputs.start().rows
            rows = {quantity: [to_bits(getattr(begun, quantity)[None])] for quantity in ("w", "m", "v")}
            for _, made in free_run(adam, inputs.start(), inputs.layout, inputs.blocks()):
                for quantity, parts in rows.items():
                    parts.append(to_bits(np.ascontiguousarray(made[quantity])))
            for quantity, parts in rows.items():
                bits = np.concatenate(parts)
                create_rows(tmp_path, quantity, len(bits), inputs.layout, format)[:] = bits
            trace = write_header(
                tmp_path, case=case, case_digest=asked.digest(), input_digest="", implementation=name, format=format,
                hyper=hyper, layout=inputs.layout, steps=asked.steps, quantities=("m", "v", "w"), environment={},
            )  # fmt: skip
            return standing_of(trace, str(twin.convention.epsilon), inputs, libraries)

    return stand


def of_formula(twin, **choices):
    return replace(twin, convention=replace(twin.convention, **choices))


def of_arithmetic(twin, **choices):
    return replace(twin, arithmetic=replace(twin.arithmetic, **choices))


@pytest.mark.parametrize(
    ("case", "dtype", "changed"),
    [
        ("none-gradients", "float32", lambda twin: of_formula(twin, step_count="per_parameter")),
        ("clip-global-norm", "float64", lambda twin: of_arithmetic(twin, reduction=Reduction.FUSED_VECTORS)),
        ("clip-norm", "float32", lambda twin: of_arithmetic(twin, reduction=Reduction.FUSED)),
        ("decades", "float64", lambda twin: of_arithmetic(twin, update=Update.HAT_QUOTIENT_FIRST)),
        ("decades", "float32", lambda twin: of_arithmetic(twin, first_moment=FirstMoment.TWO_KERNELS_FMA)),
        (
            "same-hyperparameters",
            "float64",
            lambda twin: of_arithmetic(twin, first_moment=FirstMoment.AVERAGE_FMA_NEW, update=Update.HAT_KERNELS),
        ),
    ],
)
def test_one_choice_made_otherwise_is_found(held, case, dtype, changed):
    twin = TWINS[CLAIMED][dtype]
    found = held(changed(twin), case, dtype)
    assert (found.source, found.known, found.like) == (Source.FOUND, True, "")
    assert found.broken > 0


def test_steps_left_out_are_counted_as_keras_did(held):
    name = "keras.adam.xla"
    found = held(of_formula(TWINS[name]["float64"], counts_left_out=True), "accumulation", "float64", name)
    assert (found.source, found.known, found.like) == (Source.FOUND, True, "")


def test_what_no_one_choice_makes_is_not_found(held):
    twin = of_formula(TWINS[CLAIMED]["float64"], bias_correction=False)
    found = held(twin, "same-hyperparameters", "float64")
    assert not found.known
    assert found.source is Source.CLAIMED


@pytest.mark.parametrize("earlier", ["torch.adam before 2.0", "torch.adam before 2.1"])
def test_norms_of_earlier_releases_of_torch_are_known(held, earlier):
    found = held(EARLIER[earlier]["float64"], "clip-global-norm", "float64", "torch.adam.forloop")
    assert (found.known, found.like) == (True, earlier)
