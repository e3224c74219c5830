"""A Keras classifier and its ports, recorded: python examples/classifier.py keras|torch|optax FOLDER [MISTAKE]

The model is that of the best known Keras tutorial: Dense(128, relu), Dense(10, softmax), `optimizer="adam"`, 10
epochs of batches of 32, validation data. The ports to torch and optax have the same initial weights and batches;
MISTAKE is one of those that ports to torch have: the loss is summed instead of averaged (sum), the optimizer is left
with torch's own epsilon (eps), a kernel is reshaped where it has to be transposed (kernel). What parts two of them,
`parity compare` says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import parity

FEATURES, HIDDEN, CLASSES, SAMPLES, BATCH, EPOCHS = 20, 128, 10, 320, 32, 10
MISTAKES = ("sum", "eps", "kernel")


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around one centre a class; the centres are those of seed 0."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, SAMPLES)
    centres = random.normal(size=(CLASSES, FEATURES))
    if seed:
        random = np.random.default_rng(seed)
        labels = random.integers(0, CLASSES, SAMPLES)
    return (centres[labels] + random.normal(size=(SAMPLES, FEATURES))).astype(np.float32), labels


def initial_weights() -> list[np.ndarray]:
    """Kernels as Keras has them, (in, out), and biases of zero."""
    random = np.random.default_rng(1)
    weights: list[np.ndarray] = []
    for shape in ((FEATURES, HIDDEN), (HIDDEN, CLASSES)):
        limit = np.sqrt(6 / sum(shape))
        weights += [random.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[1], np.float32)]
    return weights


def keras_training(folder: Path) -> float:
    """What everybody writes, with one line around it; the accuracy on validation data."""
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
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    with parity.record(folder, model.optimizer, model=model):
        told = model.fit(
            x, labels, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, validation_data=data(seed=2)
        )
    return float(told.history["val_accuracy"][-1])


def torch_port(folder: Path, mistake: str = "") -> float:
    """The port to torch, which has its kernels as (out, in), and an epsilon of its own."""
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
    points, classes = (torch.from_numpy(array) for array in data(seed=2))
    with torch.no_grad():
        return float((model(points).argmax(dim=1) == classes).double().mean())


def optax_port(folder: Path) -> float:
    """The port to JAX and optax, which keeps kernels as Keras does, and epsilon where torch has it."""
    import jax
    import optax

    def logits(parameters: dict[str, dict[str, jax.Array]], x: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(x @ parameters["hidden"]["kernel"] + parameters["hidden"]["bias"])
        return hidden @ parameters["out"]["kernel"] + parameters["out"]["bias"]

    def loss(parameters: dict[str, dict[str, jax.Array]], x: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(parameters, x), labels).mean()

    tx = parity.recorded(optax.adam(1e-3, eps=1e-7), folder, hyper=parity.Hyper(lr=1e-3, eps=1e-7))

    @jax.jit
    def step(parameters, state, x, labels):  # type: ignore[no-untyped-def]
        gradients = jax.grad(loss)(parameters, x, labels)
        updates, state = tx.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    x, labels = data()
    weights = [jax.numpy.asarray(array) for array in initial_weights()]
    parameters = {
        "hidden": {"kernel": weights[0], "bias": weights[1]},
        "out": {"kernel": weights[2], "bias": weights[3]},
    }
    state = tx.init(parameters)
    for _ in range(EPOCHS):
        for start in range(0, SAMPLES, BATCH):
            parameters, state = step(parameters, state, x[start : start + BATCH], labels[start : start + BATCH])
    points, classes = data(seed=2)
    return float((np.asarray(logits(parameters, points)).argmax(axis=1) == classes).mean())


def main(arguments: list[str]) -> None:
    """Train one of them, record it, and say how well it does on data that it has not seen."""
    framework, folder, *mistake = arguments
    trained = {"keras": keras_training, "torch": torch_port, "optax": optax_port}[framework]
    print(f"accuracy on validation data: {trained(Path(folder), *mistake):.3f}")


if __name__ == "__main__":
    told, *given = sys.argv
    if not 2 <= len(given) <= 3 or given[0] not in {"keras", "torch", "optax"} or {*given[2:]} - {*MISTAKES}:
        raise SystemExit(f"usage: python {told} keras|torch|optax FOLDER [{'|'.join(MISTAKES)}]")
    if given[2:] and given[0] != "torch":
        raise SystemExit(f"{given[2]}: a mistake of the port to torch; this is {given[0]}")
    main(given)
