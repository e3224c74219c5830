"""What is asked of every Adam: its hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyperparameters of one run, as Python doubles; each implementation rounds them as it does.

    lr: step size alpha, one float or one float per step. beta1, beta2: decay rates of the two
    moments. eps: added to the denominator where the implementation's convention puts it.
    weight_decay: lambda; decoupled (``w *= 1 - lr * lambda`` before the update) or L2
    (``g += lambda * w``). amsgrad: keep the maximum of the second moment.
    Source: Kingma & Ba 2015, Algorithm 1; Loshchilov & Hutter 2019, Algorithm 2; Reddi et al. 2018,
    Algorithm 2.
    """

    lr: float | tuple[float, ...] = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    amsgrad: bool = False

    def lr_at(self, step: int) -> float:
        """Step size of a 1-based step; IndexError where a schedule is shorter than the run."""
        if isinstance(self.lr, tuple):
            if step < 1:
                raise IndexError(f"step {step}: steps count from 1")
            return self.lr[step - 1]
        return self.lr
