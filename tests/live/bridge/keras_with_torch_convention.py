"""`parity.live.bridge.TorchAdam` as a plug-in."""

from __future__ import annotations

import os
import warnings

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from parity import State
from parity.live.bridge import TorchAdam


def run(weights, gradients, hyper):
    variables = [keras.Variable(array, dtype=array.dtype.name) for array in weights.values()]
    optimizer = TorchAdam(
        beta_1=hyper.beta1,
        beta_2=hyper.beta2,
        epsilon=hyper.eps,
        amsgrad=hyper.amsgrad,
        weight_decay=hyper.weight_decay,
        decoupled_weight_decay=hyper.decoupled,
    )
    optimizer.build(variables)

    def arrays(found):
        return {name: variable.numpy() for name, variable in zip(weights, found, strict=True)}

    for step, gradient in enumerate(gradients, start=1):
        optimizer.learning_rate = hyper.lr_at(step)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
            optimizer.apply([None if gradient[name] is None else keras.ops.array(gradient[name]) for name in weights])
        yield State(
            w=arrays(variables),
            m=arrays(optimizer._momentums),
            v=arrays(optimizer._velocities),
            vmax=arrays(optimizer._velocity_hats) if hyper.amsgrad else None,
        )
