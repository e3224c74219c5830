"""Choices of an Adam that matter in exact real arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Epsilon(StrEnum):
    """Where eps stands in the update of the weights.

    With m_hat = m / (1 - beta1^t) and v_hat = v / (1 - beta2^t):

    OUTSIDE: ``w -= lr * m_hat / (sqrt(v_hat) + eps)``; Kingma & Ba 2015, Algorithm 1; torch, optax.
    HAT: ``w -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)``; the form just before
    their section 2.1, where eps is their epsilon hat; Keras, TensorFlow. Equal to OUTSIDE with an
    eps of eps / sqrt(1 - beta2^t): 31.6 times as large at t = 1 with beta2 = 0.999.
    INSIDE: ``w -= lr * m_hat / sqrt(v_hat + eps)``; optax's ``eps_root``.
    """

    OUTSIDE = "outside"
    HAT = "hat"
    INSIDE = "inside"


class StepCount(StrEnum):
    """What the t of the bias correction counts; they differ once a gradient is missing.

    GLOBAL: the steps taken, one count for all parameters, as in the paper; Keras (`iterations`).
    PER_PARAMETER: the gradients this parameter has had; torch (`state["step"]`).
    """

    GLOBAL = "global"
    PER_PARAMETER = "per_parameter"


class Maximum(StrEnum):
    """Of what AMSGrad keeps the maximum.

    BEFORE_CORRECTION: of v; the stored maximum is divided by 1 - beta2^t like v; torch, Keras. AFTER_CORRECTION: of
    v_hat = v / (1 - beta2^t); optax. Differs from both: Reddi et al. 2018, Algorithm 2, has no bias correction.
    """

    BEFORE_CORRECTION = "before_correction"
    AFTER_CORRECTION = "after_correction"


class ClipFactor(StrEnum):
    """What gradients are multiplied by whose norm n is larger than the limit.

    EXACT: limit / n; Keras, TensorFlow, optax. WITH_1E_6: ``limit / (n + 1e-6)``, where that is less than 1; torch.
    """

    EXACT = "exact"
    WITH_1E_6 = "with_1e-6"


class AverageStart(StrEnum):
    """Where a running average of the weights begins.

    INITIAL_WEIGHTS: as the weights before the first step; tf_keras. FIRST_WEIGHTS: as those after it; Keras (`use_ema`)
    and torch (`AveragedModel`). ZERO_CORRECTED: at 0, and what is shown is divided by ``1 - momentum**t``; `optax.ema`.
    """

    INITIAL_WEIGHTS = "initial_weights"
    FIRST_WEIGHTS = "first_weights"
    ZERO_CORRECTED = "zero_corrected"


class ScaleRange(StrEnum):
    """Where a loss scale stays that grows and falls.

    FINITE: it grows no more where it would leave float32; torch (`GradScaler`). FROM_ONE: the same, and it does not
    fall below 1; tf_keras. UNBOUNDED: it becomes inf, and no step is taken from then on; Keras 3. FIXED: it is 1; optax
    has none.
    """

    FINITE = "finite"
    FROM_ONE = "from_one"
    UNBOUNDED = "unbounded"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Convention:
    """Which formula carries the name Adam.

    epsilon: where eps stands. bias_correction: whether m and v are divided by 1 - beta^t; where it
    is False both divisors are 1. step_count: what t counts. maximum: what AMSGrad keeps. clip_factor: what
    gradients are clipped by. lazy_rows: whether a row (along the first axis) keeps w, m and v where its gradient is 0
    throughout; torch's SparseAdam sees no such row. average_start: where an average of the weights begins.
    counts_left_out: whether t counts a step that a loss scale or an accumulation leaves out, where it counts for all;
    tf_keras, Keras 3.3.
    scale_range: where a loss scale stays.

    One choice is not a field, because all frameworks agree: a parameter without a gradient keeps w, m, v and vmax,
    undecayed. Weight decay is asked for by `Hyper`.
    """

    epsilon: Epsilon = Epsilon.OUTSIDE
    bias_correction: bool = True
    step_count: StepCount = StepCount.GLOBAL
    maximum: Maximum = Maximum.BEFORE_CORRECTION
    clip_factor: ClipFactor = ClipFactor.EXACT
    lazy_rows: bool = False
    average_start: AverageStart = AverageStart.FIRST_WEIGHTS
    counts_left_out: bool = False
    scale_range: ScaleRange = ScaleRange.FINITE
