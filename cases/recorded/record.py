"""Record gradients from live trainings: python cases/recorded/record.py [NAME ...]

Each training runs as its framework runs it, with its framework's own Adam. digits-mlp takes its digits from
scikit-learn, which nothing else asks for: pip install --constraint constraints.txt scikit-learn
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import parity


def dense_one(folder: Path) -> None:
    """Keras Dense(1) learns y = 2 x from three points, stepped by hand; 100 steps."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(0.01)
    x, y = tf.constant([[1.0], [2.0], [3.0]]), tf.constant([[2.0], [4.0], [6.0]])
    variables = [layer.kernel, layer.bias]
    with parity.record(folder, optimizer, model={"kernel": layer.kernel, "bias": layer.bias}, moments=False):
        for _ in range(100):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(x) - y))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def dense_softmax(folder: Path) -> None:
    """A compiled Keras classifier trained by model.fit; 10 epochs of 10 batches of 32."""
    import keras

    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.random((320, 10), np.float32)
    y = keras.utils.to_categorical(generator.integers(0, 10, 320), 10)
    model = keras.Sequential(
        [
            keras.layers.Input((10,)),
            keras.layers.Dense(128, activation="relu", name="dense1"),
            keras.layers.Dense(10, activation="softmax", name="dense2"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    with parity.record(folder, model.optimizer, model=model, moments=False):
        model.fit(x, y, batch_size=32, epochs=10, verbose=0)


def digits_mlp(folder: Path) -> None:
    """A torch classifier of scikit-learn's handwritten digits; 100 batches of 64."""
    import torch
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters())
    with parity.record(folder, optimizer, model=model, moments=False):
        for chosen in _batches(len(x), 64, 100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()


RECORDINGS: dict[str, Callable[[Path], None]] = {
    "dense-one": dense_one,
    "dense-softmax": dense_softmax,
    "digits-mlp": digits_mlp,
}


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
        RECORDINGS[asked](Path(__file__).parent / asked)
