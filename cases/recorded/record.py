"""Record gradients from live trainings: python cases/recorded/record.py [NAME ...]

Each training runs as its framework runs it, with its framework's own Adam; what is kept are the
initial weights and the gradients that Adam was given, in float32.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity.case.recording import SCHEMA_VERSION, bits_digest

Arrays = dict[str, np.ndarray]
Training = tuple[Arrays, list[Arrays], str, tuple[str, ...]]
"""Initial weights, gradients of every step, what was trained, and the packages that took part."""


def dense_one() -> Training:
    """Keras Dense(1) learns y = 2 x from three points, stepped by hand; 100 steps."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(0.01)
    x, y = tf.constant([[1.0], [2.0], [3.0]]), tf.constant([[2.0], [4.0], [6.0]])
    names = ("kernel", "bias")
    variables = [layer.kernel, layer.bias]
    weights = _arrays(names, variables)
    steps = []
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x) - y))
        gradients = tape.gradient(loss, variables)
        steps.append(_arrays(names, gradients))
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return (
        weights,
        steps,
        "Keras Dense(1), x = 1, 2, 3, y = 2, 4, 6, MSE, Adam(0.01), GradientTape",
        ("keras",),
    )


def dense_softmax() -> Training:
    """A compiled Keras classifier trained by model.fit; 10 epochs of 10 batches of 32."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.random((320, 10), np.float32)
    y = keras.utils.to_categorical(generator.integers(0, 10, 320), 10)
    model = keras.Sequential(
        [
            keras.layers.Input((10,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    names = ("dense1.kernel", "dense1.bias", "dense2.kernel", "dense2.bias")
    weights = _arrays(names, model.trainable_variables)
    taps = [tf.Variable(tf.zeros(one.shape), trainable=False) for one in model.trainable_variables]
    apply = model.optimizer.apply

    def apply_and_keep(gradients: list[object], variables: object = None) -> object:
        for tap, gradient in zip(taps, gradients, strict=True):
            tap.assign(gradient)
        return apply(gradients, variables)

    steps: list[Arrays] = []
    model.optimizer.apply = apply_and_keep
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(_arrays(names, taps)))
    model.fit(x, y, batch_size=32, epochs=10, verbose=0, callbacks=[keep])
    told = "Keras Dense(128, relu), Dense(10, softmax) on 320 random samples, model.fit, optimizer='adam'"
    return weights, steps, told, ("keras",)


def digits_mlp() -> Training:
    """A torch classifier of scikit-learn's handwritten digits; 100 batches of 64."""
    import torch
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters())
    named = dict(model.named_parameters())
    weights = _arrays(tuple(named), [one.detach() for one in named.values()])
    steps = []
    for chosen in _batches(len(x), 64, 100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        steps.append(_arrays(tuple(named), [one.grad for one in named.values()]))
        optimizer.step()
    told = "torch Linear(64, 32), ReLU, Linear(32, 10) on scikit-learn's digits, torch.optim.Adam, batches of 64"
    return weights, steps, told, ("torch", "scikit-learn")


RECORDINGS: dict[str, Callable[[], Training]] = {
    "dense-one": dense_one,
    "dense-softmax": dense_softmax,
    "digits-mlp": digits_mlp,
}


def record(name: str, folder: Path) -> None:
    """Run a training and write recording.json, weights.npy and gradients.npy into folder / name."""
    weights, steps, told, packages = RECORDINGS[name]()
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    first = _row(weights)
    rows = np.stack([_row(gradients) for gradients in steps])
    if not np.isfinite(rows.view(np.float32)).all():
        raise SystemExit(f"{name}: the training gave gradients that are not finite")
    np.save(folder / "weights.npy", first, allow_pickle=False)
    np.save(folder / "gradients.npy", rows, allow_pickle=False)
    magnitudes = np.abs(rows.view(np.float32))
    recording = {
        "schema_version": SCHEMA_VERSION,
        "dtype": "float32",
        "steps": len(rows),
        "parameters": [{"name": key, "shape": list(value.shape)} for key, value in weights.items()],
        "weights_sha256": bits_digest(first),
        "gradients_sha256": bits_digest(rows),
        "smallest_gradient": float(magnitudes[magnitudes > 0].min()).hex(),
        "largest_gradient": float(magnitudes.max()).hex(),
        "provenance": {
            "trained": told,
            "command": f"python cases/recorded/record.py {name}",
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "packages": {one: version(one) for one in ("numpy", *packages)} | _tensorflow(packages),
        },
    }
    text = json.dumps(recording, indent=1, sort_keys=True) + "\n"
    (folder / "recording.json").write_text(text, encoding="utf-8")


def _tensorflow(packages: tuple[str, ...]) -> dict[str, str]:
    if "keras" not in packages:
        return {}
    import tensorflow as tf

    return {"tensorflow": tf.__version__}


def _arrays(names: tuple[str, ...], tensors: object) -> Arrays:
    # A copy: torch and Keras go on writing into the memory behind their arrays.
    return {name: np.array(np.asarray(one), np.float32) for name, one in zip(names, tensors, strict=True)}  # type: ignore


def _row(arrays: Arrays) -> np.ndarray:
    return np.concatenate([one.ravel() for one in arrays.values()]).astype("<f4").view("<u4")


def _batches(samples: int, size: int, count: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    order = generator.permutation(samples)
    place = 0
    for _ in range(count):
        if place + size > samples:
            order, place = generator.permutation(samples), 0
        yield order[place : place + size]
        place += size


if __name__ == "__main__":
    for asked in sys.argv[1:] or RECORDINGS:
        if asked not in RECORDINGS:
            raise SystemExit(f"no recording {asked!r}; allowed: {', '.join(RECORDINGS)}")
        record(asked, Path(__file__).parent)
