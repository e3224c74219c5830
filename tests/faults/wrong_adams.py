"""Wrong Adams: each is the correct one with exactly one stage exchanged, by a small change.

Families are those of the causes by which two Adams differ; "unexplained" where none of them fits. Every
name in `WRONG` is an attribute of this module, too: ``-i tests/faults/wrong_adams.py:epsilon_hat``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity import Implementation

sys.path.append(str(Path(__file__).parent))
from exchangeable_adam import Adam, first, l2, moved, second
from wrong_stages import (
    BFLOAT16,
    at_step,
    before,
    clipped,
    clipped_norm,
    decayed,
    divided,
    eps,
    exchange_twins,
    flushed,
    keep,
    maximum_forgotten,
    maximum_of_corrected,
    near,
    nesterov,
    noisy,
    product,
    rate,
    rounded_betas,
    rows_keep,
    rows_without_gradient,
    standing,
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong Adam. run: its run function. case, dtype: the cheapest shipped cell that exposes it."""

    name: str
    family: str
    detail: str
    run: Adam
    case: str
    dtype: str


WRONG: dict[str, Wrong] = {}


def wrong(name: str, family: str, exposed: str, detail: str, **stage: Callable[..., Any]) -> None:
    """Add one to the table. exposed: "case dtype"."""
    case, dtype = exposed.split()
    WRONG[name] = Wrong(name, family, detail, Adam(**stage), case, dtype)


# fmt: off
wrong("epsilon_hat", "epsilon-placement", "decades float64", "eps is added to sqrt(v) before bias correction.",
      update=lambda s: s.real(s.lr * s.c2**0.5 / s.c1) * s.m / (np.sqrt(s.raw_v) + eps(s)))
wrong("epsilon_inside", "epsilon-placement", "decades float64", "eps stands under the square root.",
      update=lambda s: divided(s, s.m_hat, np.sqrt(s.v_hat + eps(s))))
wrong("epsilon_twice", "epsilon-placement", "decades float64", "eps stands under the square root and beside it.",
      update=lambda s: divided(s, s.m_hat, np.sqrt(s.v_hat + eps(s)) + eps(s)))
wrong("epsilon_tenfold", "epsilon-value", "decades float64", "eps is ten times what was asked.",
      asked=lambda h: replace(h, eps=10 * h.eps))
wrong("epsilon_default", "epsilon-value", "decades float64", "eps is 1e-7, whatever is asked.",
      asked=lambda h: replace(h, eps=1e-7))
wrong("epsilon_ignored", "epsilon-value", "decades float64", "eps is 0, whatever is asked.",
      asked=lambda h: replace(h, eps=0.0))
wrong("epsilon_zero_is_default", "epsilon-value", "epsilon-zero float64", "eps = 0 silently means 1e-7.",
      asked=lambda h: replace(h, eps=h.eps or 1e-7))
wrong("epsilon_underflow", "epsilon-underflow", "decades float64", "eps goes through float16, where 1e-8 is 0.",
      asked=lambda h: replace(h, eps=float(np.float16(h.eps))))

wrong("uncorrected_m", "bias-correction", "constant float64", "m is used without bias correction.",
      corrections=lambda s: (1.0, 1 - s.p2))
wrong("uncorrected_v", "bias-correction", "constant float64", "v is used without bias correction.",
      corrections=lambda s: (1 - s.p1, 1.0))
wrong("uncorrected", "bias-correction", "constant float64", "m and v are used without bias correction.",
      corrections=lambda s: (1.0, 1.0))
wrong("correction_inverted", "bias-correction", "constant float64", "m and v are multiplied by 1 - beta^t.",
      corrections=lambda s: (1 / (1 - s.p1), 1 / (1 - s.p2)))
wrong("correction_twice", "bias-correction", "constant float64", "m and v are divided by 1 - beta^t twice.",
      corrections=lambda s: ((1 - s.p1) ** 2, (1 - s.p2) ** 2))
wrong("correction_without_power", "bias-correction", "constant float64", "m and v are divided by 1 - beta.",
      power=lambda s, beta: beta)
wrong("correction_beside_root", "bias-correction", "constant float64", "v is corrected after its root.",
      update=lambda s: divided(s, s.m_hat, np.sqrt(s.raw_v) / s.real(s.c2) + eps(s)))
wrong("m_starts_at_g", "bias-correction", "constant float64", "m is the gradient at the first step.",
      first=lambda s: s.g.copy() if s.t == 1 else first(s))

wrong("step_ahead", "step-count", "constant float64", "t begins at 2.", count=lambda s: s.seen + 1)
wrong("step_behind", "step-count", "constant float64", "t begins at 0, where nothing is corrected.",
      corrections=lambda s: (1 - s.p1 / s.hyper.beta1, 1 - s.p2 / s.hyper.beta2) if s.t > 1 else (1.0, 1.0))
wrong("step_stuck", "step-count", "constant float64", "t stays 1.", count=lambda s: 1)
wrong("step_saturates", "step-count", "long float64", "t stays 256, as a bfloat16 counter does.",
      count=lambda s: min(s.seen, 256))
wrong("step_saturates_late", "step-count", "long float64", "t stays 2048, as a float16 counter does.",
      count=lambda s: min(s.seen, 2048))
wrong("step_per_parameter", "step-count", "constant float64", "t grows by one for every parameter of a step.",
      count=lambda s: (s.step - 1) * s.of + s.place + 1)
wrong("step_global", "step-count", "none-gradients float64", "t counts steps, also those without a gradient.",
      count=lambda s: s.step)

wrong("lr_off", "hyperparameter-value", "constant float64", "lr is 0.1 % larger than asked.",
      asked=lambda h: rate(h, lambda lr: 1.001 * lr))
wrong("lr_of_the_first_step", "hyperparameter-value", "lr-schedule float64", "lr is read once, at the first step.",
      asked=lambda h: replace(h, lr=h.lr_at(1)))
wrong("beta1_off", "hyperparameter-value", "constant float64", "beta1 is 0.01 smaller than asked.",
      asked=lambda h: replace(h, beta1=h.beta1 - 0.01))
wrong("beta2_off", "hyperparameter-value", "constant float64", "beta2 is 1e-6 smaller than asked.",
      asked=lambda h: replace(h, beta2=h.beta2 - 1e-6))
wrong("betas_swapped", "hyperparameter-value", "constant float64", "beta1 and beta2 are swapped.",
      asked=lambda h: replace(h, beta1=h.beta2, beta2=h.beta1))
wrong("betas_default", "hyperparameter-value", "beta2-095 float64", "betas are 0.9 and 0.999, whatever is asked.",
      asked=lambda h: replace(h, beta1=0.9, beta2=0.999))
wrong("lr_in_float32", "hyperparameter-rounding", "constant float64", "lr is kept in float32.",
      asked=lambda h: rate(h, lambda lr: float(np.float32(lr))))
wrong("lr_in_bfloat16", "hyperparameter-rounding", "constant float32", "lr is kept in bfloat16.",
      asked=lambda h: rate(h, lambda lr: float(BFLOAT16(lr))))
wrong("betas_in_float32", "hyperparameter-rounding", "constant float64", "The betas are kept in float32.",
      asked=lambda h: rounded_betas(h, np.float32))
wrong("betas_in_float16", "hyperparameter-rounding", "constant float32", "The betas are kept in float16.",
      asked=lambda h: rounded_betas(h, np.float16))
wrong("complements_in_float32", "hyperparameter-rounding", "constant float32", "1 - beta is formed in float32.",
      complements=lambda s: tuple(float(np.float32(1) - np.float32(b)) for b in (s.hyper.beta1, s.hyper.beta2)))
wrong("powers_of_float32", "hyperparameter-rounding", "constant float64", "Bias correction has betas from float32.",
      power=lambda s, beta: float(np.float32(beta)) ** s.t)
wrong("product_in_float32", "beta-power", "constant float64", "beta^t is a repeated product in float32.",
      power=lambda s, beta: product(beta, s.t, np.float32))
wrong("product_in_bfloat16", "beta-power", "constant float32", "beta^t is a repeated product in bfloat16.",
      power=lambda s, beta: product(beta, s.t, BFLOAT16))
wrong("power_in_bfloat16", "beta-power", "constant float32", "beta^t is rounded to bfloat16, 0.999 to 1.",
      power=lambda s, beta: float(BFLOAT16(beta**s.t)))

wrong("decay_decoupled", "weight-decay", "weight-decay-l2 float64", "Decay is decoupled where L2 is asked for.",
      asked=lambda h: replace(h, decoupled=True))
wrong("decay_coupled", "weight-decay", "weight-decay-decoupled float64", "Decay is L2 where decoupled is asked for.",
      asked=lambda h: replace(h, decoupled=False))
wrong("decay_ignored", "weight-decay", "weight-decay-decoupled float64", "There is no decay.",
      asked=lambda h: replace(h, weight_decay=0.0))
wrong("decay_not_scaled", "weight-decay", "weight-decay-decoupled float64", "Decay is not scaled by lr.",
      moved=decayed(lambda s: 1 - s.hyper.weight_decay))
wrong("decay_by_corrected_lr", "weight-decay", "weight-decay-decoupled float64", "Decay is scaled by the corrected lr.",
      moved=decayed(lambda s: 1 - s.lr * s.c2**0.5 / s.c1 * s.hyper.weight_decay))
wrong("decay_complement", "weight-decay", "weight-decay-decoupled float64", "w is multiplied by lr * decay itself.",
      moved=decayed(lambda s: s.lr * s.hyper.weight_decay))
wrong("decay_below_ulp", "weight-decay", "weight-decay-decoupled float64", "The factor is formed in bfloat16: it is 1.",
      moved=decayed(lambda s: float(BFLOAT16(s.shrink))))
wrong("decay_after", "weight-decay", "weight-decay-decoupled float64", "The updated weights are decayed.",
      moved=lambda s, change: (s.w - change) * s.real(s.shrink))
wrong("l2_by_lr", "weight-decay", "weight-decay-l2 float64", "lr * decay * w is added to the gradient.",
      coupled=lambda s: s.g + s.real(s.lr) * (l2(s) - s.g))
wrong("l2_subtracted", "weight-decay", "weight-decay-l2 float64", "decay * w is subtracted from the gradient.",
      coupled=lambda s: s.g - (l2(s) - s.g))

wrong("clipped_by_value", "gradient-scale", "half-precision float64", "Gradients are clipped to [-1, 1].",
      gradient=lambda s: clipped(s.g))
wrong("clipped_by_norm", "gradient-scale", "same-hyperparameters float64", "A tensor's gradient has norm 1 at most.",
      gradient=lambda s: clipped_norm(s.g))
wrong("clipped_in_m", "gradient-scale", "half-precision float64", "m takes the clipped gradient, v does not.",
      first=lambda s: first(replace(s, g=clipped(s.g))))
wrong("scale_forgotten", "gradient-scale", "constant float64", "A loss scale of 1024 stays in the gradients.",
      gradient=lambda s: s.g * s.real(1024))
wrong("unscaled_twice", "gradient-scale", "constant float64", "A loss scale of 1024 is divided out once too often.",
      gradient=lambda s: s.g / s.real(1024))

wrong("amsgrad_after_correction", "amsgrad", "amsgrad float64", "The maximum is that of the corrected v.",
      v_hat=maximum_of_corrected)
wrong("amsgrad_not_stored", "amsgrad", "amsgrad float64", "The maximum is taken and not stored.",
      v_hat=maximum_forgotten)
wrong("amsgrad_ignored", "amsgrad", "amsgrad float64", "AMSGrad is asked for and not done.",
      asked=lambda h: replace(h, amsgrad=False))

wrong("rows_frozen", "sparse-rows", "row-sparse float64", "Weights of rows whose gradient is zero wait.",
      moved=standing(rows_without_gradient))
wrong("rows_keep_m", "sparse-rows", "row-sparse float64", "m of rows whose gradient is zero does not decay.",
      first=rows_keep("m", first))
wrong("rows_keep_v", "sparse-rows", "row-sparse float64", "v of rows whose gradient is zero does not decay.",
      second=rows_keep("v", second))
wrong("none_is_zero", "none-gradient", "none-gradients float64", "None is taken as a gradient of zero.",
      missing=lambda s: np.zeros_like(s.w))
wrong("none_is_the_last", "none-gradient", "none-gradients float64", "None is taken as the last gradient.",
      missing=lambda s: s.g)

wrong("m_in_bfloat16", "state-storage", "constant float32", "m is kept in bfloat16.",
      stored=keep(m=lambda s: near(s.m, BFLOAT16)))
wrong("v_in_float16", "state-storage", "constant float32", "v is kept in float16.",
      stored=keep(v=lambda s: near(s.v, np.float16)))
wrong("state_in_float32", "state-storage", "constant float64", "m and v are kept in float32.",
      stored=keep(m=lambda s: near(s.m, np.float32), v=lambda s: near(s.v, np.float32)))
wrong("weights_in_float32", "state-storage", "constant float64", "w is kept in float32.",
      stored=keep(w=lambda s: near(s.w, np.float32)))
wrong("cast_at_resume", "state-storage", "constant float64", "At step 8 m goes through float32 once.",
      stored=at_step(8, keep(m=lambda s: near(s.m, np.float32))))
wrong("reset_at_resume", "state-storage", "constant float64", "At step 10 m and v are 0 again.",
      stored=at_step(10, keep(m=lambda s: 0 * s.m, v=lambda s: 0 * s.v)))
wrong("reversed_at_resume", "state-storage", "same-hyperparameters float64", "At step 8 v comes back in reverse order.",
      stored=at_step(8, keep(v=lambda s: s.v[::-1].copy())))
wrong("swapped_at_resume", "state-storage", "twins float64", "At step 8 two tensors of one shape exchange m and v.",
      after=exchange_twins)
wrong("last_element_stands", "partial-update", "constant float64", "The last element of a tensor never moves.",
      moved=standing(lambda s: np.arange(s.w.size) == s.w.size - 1))
wrong("tail_stands", "partial-update", "constant float64", "Elements after the first 1,024 never move.",
      moved=standing(lambda s: np.arange(s.w.size) >= 1024))
wrong("last_tensor_stands", "partial-update", "constant float64", "The last tensor never moves.",
      moved=standing(lambda s: s.place == s.of - 1))
wrong("matrices_stand", "partial-update", "constant float64", "Tensors of two axes never move: a copy was updated.",
      moved=standing(lambda s: len(s.shape) == 2))
wrong("nothing_moves", "partial-update", "constant float64", "m and v are right, and no weight ever moves.",
      moved=standing(lambda s: True))
wrong("subnormals_flushed", "subnormal-flush", "tiny float32", "v is 0 where it is subnormal in float32.",
      second=lambda s: flushed(second(s)))
wrong("noisy", "nondeterminism", "all-zero float64", "One weight in 16 gets its last bit flipped at random.",
      stored=noisy)

wrong("sign_flipped", "unexplained", "constant float64", "Steps go up the gradient.",
      moved=lambda s, change: moved(s, -change))
wrong("v_without_root", "unexplained", "constant float64", "The denominator is v_hat + eps, without the root.",
      update=lambda s: divided(s, s.m_hat, s.v_hat + eps(s)))
wrong("v_of_absolute", "unexplained", "constant float64", "v averages |g|, not its square.",
      second=lambda s: s.real(s.hyper.beta2) * s.v + s.real(s.d2) * np.abs(s.g))
wrong("v_of_m", "unexplained", "constant float64", "v averages the square of m.",
      second=lambda s: second(replace(s, g=first(s))))
wrong("v_centered", "unexplained", "constant float64", "v averages the square of g - m, as AdaBelief does.",
      second=lambda s: second(replace(s, g=s.g - s.m)))
wrong("v_largest", "unexplained", "constant float64", "v is max(beta2 * v, g * g), as in Adamax.",
      second=lambda s: np.maximum(s.real(s.hyper.beta2) * s.v, s.g * s.g))
wrong("gradient_late", "unexplained", "constant float64", "The gradient of the step before is used.",
      gradient=before("g"))
wrong("nesterov", "unexplained", "same-hyperparameters float64", "m_hat looks one step ahead, as in NAdam.",
      m_hat=nesterov)
wrong("heavy_ball", "unexplained", "constant float64", "m lacks the factor 1 - beta1 before g.",
      first=lambda s: s.real(s.hyper.beta1) * s.m + s.g)
# fmt: on

globals().update({one.name: Implementation(one.name, one.run) for one in WRONG.values()})
