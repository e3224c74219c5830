"""A Keras classifier and its port to torch, recorded: python examples/classifier.py keras|torch FOLDER [MISTAKE]

The model is that of the best known Keras tutorial: Dense(128, relu), Dense(10, softmax), `optimizer="adam"`, 10
epochs of batches of 32. The port has the same initial weights and batches; MISTAKE is one of those that ports have: the
loss is summed instead of averaged (sum), the optimizer is left with torch's own epsilon (eps), a kernel is reshaped
where it has to be transposed (kernel). What parts the two, `parity compare` says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import parity

FEATURES, HIDDEN, CLASSES, SAMPLES, BATCH, EPOCHS = 20, 128, 10, 320, 32, 10
MISTAKES = ("sum", "eps", "kernel")


def data() -> tuple[np.ndarray, np.ndarray]:
    """Points around one centre a class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, SAMPLES)
    centres = random.normal(size=(CLASSES, FEATURES))
    return (centres[labels] + random.normal(size=(SAMPLES, FEATURES))).astype(np.float32), labels


def initial_weights() -> list[np.ndarray]:
    """Kernels as Keras has them, (in, out), and biases of zero."""
    random = np.random.default_rng(1)
    weights: list[np.ndarray] = []
    for shape in ((FEATURES, HIDDEN), (HIDDEN, CLASSES)):
        limit = np.sqrt(6 / sum(shape))
        weights += [random.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[1], np.float32)]
    return weights


def keras_training(folder: Path) -> None:
    """What everybody writes, with one line around it."""
    import keras

    x, labels = data()
    model = keras.Sequential(
        [
            keras.layers.Input((FEATURES,)),
            keras.layers.Dense(HIDDEN, activation="relu", name="hidden"),
            keras.layers.Dense(CLASSES, activation="softmax", name="out"),
        ]
    )
    model.set_weights(initial_weights())
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    with parity.record(folder, model.optimizer, model=model):
        model.fit(x, labels, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, validation_split=0.0)


def torch_port(folder: Path, mistake: str = "") -> None:
    """The port: torch has its kernels as (out, in), and an epsilon of its own."""
    import torch

    x, labels = (torch.from_numpy(array) for array in data())
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), initial_weights(), strict=True):
            shaped = array.reshape(tuple(parameter.shape)) if mistake == "kernel" else array.T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(shaped)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **({} if mistake == "eps" else {"eps": 1e-7}))
    loss = torch.nn.CrossEntropyLoss(reduction="sum" if mistake == "sum" else "mean")
    with parity.record(folder, optimizer, model=model):
        for _ in range(EPOCHS):
            for start in range(0, SAMPLES, BATCH):
                optimizer.zero_grad()
                loss(model(x[start : start + BATCH]), labels[start : start + BATCH]).backward()
                optimizer.step()


def main(arguments: list[str]) -> None:
    """Train one of the two, and record it."""
    framework, folder, *mistake = arguments
    if framework == "keras":
        keras_training(Path(folder))
    else:
        torch_port(Path(folder), *mistake)


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4 or sys.argv[1] not in {"keras", "torch"} or {*sys.argv[3:]} - {*MISTAKES}:
        raise SystemExit(f"usage: python {sys.argv[0]} keras|torch FOLDER [{'|'.join(MISTAKES)}]")
    main(sys.argv[1:])
