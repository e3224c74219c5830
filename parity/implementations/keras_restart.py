"""What a Keras optimizer and its variables are saved as, and loaded from, whatever backend Keras has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MODEL, VARIABLES, WEIGHT = "model.keras", "variables.npz", "weight_"


def save(optimizer: Any, variables: list[Any], folder: Path, *, model: bool) -> None:
    """What `save_own_variables` gives, or a whole `.keras` model, into a folder."""
    with _outdated():
        if model:
            _model_of(optimizer, variables).save(folder / MODEL)
            return
        kept: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(kept)
        kept |= {f"{WEIGHT}{place}": variable.numpy() for place, variable in enumerate(variables)}
    # Half-precision numbers of ml_dtypes come back from a file of NumPy's as nothing that has a name.
    bits: dict[str, Any] = {key: np.frombuffer(np.asarray(one).tobytes(), np.uint8) for key, one in kept.items()}
    np.savez(folder / VARIABLES, **bits)


def load(optimizer: Any, variables: list[Any], folder: Path) -> None:
    """Into an optimizer that was built, and its variables."""
    import keras

    if (folder / MODEL).is_file():
        # Else Keras would build the layers of a model that it has met in this process.
        layers = {"Parameters": _parameters_layer()}
        model = keras.saving.load_model(folder / MODEL, custom_objects=layers)
        found = [*model.layers[-1].weights, *model.optimizer.variables]
        for variable, one in zip([*variables, *optimizer.variables], found, strict=True):
            variable.assign(one.value)
        return
    with _outdated(), np.load(folder / VARIABLES, allow_pickle=False) as kept:

        def array(key: str, variable: Any) -> np.ndarray:
            return np.frombuffer(kept[key].tobytes(), variable.numpy().dtype).reshape(variable.shape)

        optimizer.load_own_variables(
            {str(place): array(str(place), variable) for place, variable in enumerate(optimizer.variables)}
        )
        for place, variable in enumerate(variables):
            variable.assign(array(f"{WEIGHT}{place}", variable))


@contextmanager
def _outdated() -> Iterator[None]:
    """Keras 3.15 converts its variables in a way that NumPy 2 calls outdated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        yield


def _model_of(optimizer: Any, variables: list[Any]) -> Any:
    """A model whose only layer has the variables as its weights, compiled with their optimizer."""
    import keras

    layer = _parameters_layer()([(tuple(one.shape), one.dtype) for one in variables])
    inputs = keras.Input((1,))
    model = keras.Model(inputs, layer(inputs))
    own = optimizer.from_config(optimizer.get_config())
    own.build(layer.weights)
    model.compile(optimizer=own)
    for variable, one in zip([*layer.weights, *own.variables], [*variables, *optimizer.variables], strict=True):
        variable.assign(one.value)
    return model


@cache
def _parameters_layer() -> Any:
    import keras

    class Parameters(keras.layers.Layer):  # type: ignore[misc]
        """Weights of given shapes and dtypes, and nothing else."""

        def __init__(self, tensors: Any, **more: Any) -> None:
            super().__init__(**more)
            self.tensors = [(tuple(shape), dtype) for shape, dtype in tensors]
            for place, (shape, dtype) in enumerate(self.tensors):
                self.add_weight(shape=shape, dtype=dtype, name=f"parameter_{place}")
            self.built = True

        def call(self, inputs: Any) -> Any:
            return inputs

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "tensors": self.tensors}

    return Parameters
