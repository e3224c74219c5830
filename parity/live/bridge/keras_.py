"""torch's Adam as a Keras optimizer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="parity")
class TorchAdam(keras.optimizers.Optimizer):  # type: ignore[misc]
    """A Keras optimizer that takes the steps of torch.optim.Adam, or of AdamW.

    Per variable w with gradient g, t counting only the steps in which w had one::

        decoupled:  w = w - w * weight_decay * lr           L2:  g = g + weight_decay * w
        m = m + (g - m) * (1 - beta_1)                      momentum
        v = v + (g * g - v) * (1 - beta_2)                  velocity
        vmax = max(vmax, v)                                 velocity_hat, AMSGrad
        w = w - lr / (1 - beta_1**t) * m / (sqrt(v) / sqrt(1 - beta_2**t) + epsilon)

    learning_rate: also a schedule; a float32 number, as in every Keras optimizer, while torch's is a
    double (4.7e-8 off for 1e-3). The bias corrections are formed in float64 and rounded once, as in torch.
    weight_decay, decoupled_weight_decay, amsgrad: as in torch, L2 unless decoupled. name, kwargs: those of
    `keras.optimizers.Optimizer`. IndexedSlices, which embeddings give, are made dense, as the
    gradients of torch's Embedding are. Source: torch/optim/adam.py, torch 2.13.
    Differs from: keras.optimizers.Adam, in the place of epsilon, in t, in weight decay (decoupled there).
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        decoupled_weight_decay: bool = False,
        name: str = "torch_adam",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self.decoupled_weight_decay = decoupled_weight_decay

    def build(self, variables: list[Any]) -> None:
        """Make m, v, the t of every variable, and vmax under AMSGrad."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self._like(variables, "momentum")
        self._velocities = self._like(variables, "velocity")
        self._counts = [
            self.add_variable(shape=(), dtype="int32", name=f"step_{index}") for index in range(len(variables))
        ]
        if self.amsgrad:
            self._velocity_hats = self._like(variables, "velocity_hat")

    def _like(self, variables: list[Any], name: str) -> list[Any]:
        return [self.add_variable_from_reference(variable, name=name) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """The step of one variable, which has a gradient."""
        index = self._get_variable_index(variable)
        m, v, count = self._momentums[index], self._velocities[index], self._counts[index]
        g = ops.cast(ops.convert_to_tensor(gradient, sparse=False), variable.dtype)
        if self.weight_decay and not self.decoupled_weight_decay and self._use_weight_decay(variable):
            g = ops.add(g, ops.multiply(variable, self.weight_decay))
        self.assign_add(count, 1)
        rate = ops.divide(ops.cast(learning_rate, "float64"), _correction(self.beta_1, count))
        root = ops.sqrt(_correction(self.beta_2, count))
        self.assign_add(m, ops.multiply(ops.subtract(g, m), 1 - self.beta_1))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(g), v), 1 - self.beta_2))
        if self.amsgrad:
            largest = self._velocity_hats[index]
            self.assign(largest, ops.maximum(largest, v))
            v = largest
        denominator = ops.add(ops.divide(ops.sqrt(v), ops.cast(root, variable.dtype)), self.epsilon)
        self.assign_sub(variable, ops.divide(ops.multiply(m, ops.cast(rate, variable.dtype)), denominator))

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        if self.decoupled_weight_decay:
            super()._apply_weight_decay(variables)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        own = ("beta_1", "beta_2", "epsilon", "amsgrad", "decoupled_weight_decay")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _correction(beta: float, count: Any) -> Any:
    """1 - beta^t in float64: 1 - 0.999 of float32 numbers would be 6e-5 off."""
    return 1 - ops.power(ops.convert_to_tensor(beta, dtype="float64"), ops.cast(count, "float64"))
