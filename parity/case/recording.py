"""Gradients recorded from a real training: read, and checked to the last bit."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import ParityError, nearest
from parity.core.layout import Layout, Parameter

SCHEMA_VERSION = 1
"""Of `recording.json`; a newer one is refused."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder with `recording.json`, `weights.npy` (size,) and `gradients.npy` (steps, size).

    Both arrays are the bits of float32 as uint32, little-endian. folder: where it lies; layout:
    names and shapes of the recorded parameters; steps: rows of the gradients; weights_digest,
    gradients_digest: SHA-256 of the bits; smallest, largest: magnitudes among the gradients, 0 left out.
    """

    folder: Path
    layout: Layout
    steps: int
    weights_digest: str
    gradients_digest: str
    smallest: float
    largest: float

    def weights(self, name: str) -> np.ndarray:
        """Recorded initial weights of a parameter, float32 (size,), memory-mapped."""
        return _mapped(self.folder / "weights.npy", (self.layout.size,))[self._place(name)].view(np.float32)

    def gradients(self, name: str, step: int) -> np.ndarray:
        """Recorded gradient of a parameter at a 1-based step, float32 (size,), memory-mapped."""
        if not 1 <= step <= self.steps:
            raise ParityError(f"{self.folder.name}: step {step} was not recorded; allowed: 1 to {self.steps}")
        rows = _mapped(self.folder / "gradients.npy", (self.steps, self.layout.size))
        return rows[step - 1, self._place(name)].view(np.float32)

    def parameter(self, name: str) -> Parameter:
        """The recorded parameter of that name; ParityError with the nearest name where there is none."""
        for parameter in self.layout.parameters:
            if parameter.name == name:
                return parameter
        names = [parameter.name for parameter in self.layout.parameters]
        raise ParityError(f"no parameter {name!r} in recording {self.folder.name!r}; {nearest(name, names)}")

    def _place(self, name: str) -> slice:
        wanted = self.parameter(name)
        return next(place for parameter, place in self.layout.slices() if parameter == wanted)


def read_recording(folder: Path) -> Recording:
    """What a recording says of itself, the arrays unread; ParityError where it cannot be understood."""
    file = folder / "recording.json"
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParityError(f"recording {folder.name!r} has no recording.json (looked in {folder})") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{file}: not a readable recording ({error})") from None
    try:
        version = told["schema_version"]
        if version != SCHEMA_VERSION:
            raise ParityError(f"{file}: schema version {version} cannot be read; allowed: {SCHEMA_VERSION}")
        if told["dtype"] != "float32":
            raise ParityError(f"{file}: dtype {told['dtype']!r} cannot be read; allowed: float32")
        parameters = tuple(Parameter(one["name"], tuple(one["shape"])) for one in told["parameters"])
        return Recording(
            folder=folder,
            layout=Layout(parameters),
            steps=int(told["steps"]),
            weights_digest=str(told["weights_sha256"]),
            gradients_digest=str(told["gradients_sha256"]),
            smallest=float.fromhex(told["smallest_gradient"]),
            largest=float.fromhex(told["largest_gradient"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParityError(f"{file}: not a readable recording ({type(error).__name__}: {error})") from None


def check_recording(recording: Recording) -> None:
    """Compares both arrays with their digests; ParityError where a bit is not as recorded."""
    size, steps = recording.layout.size, recording.steps
    for name, shape, digest in (
        ("weights.npy", (size,), recording.weights_digest),
        ("gradients.npy", (steps, size), recording.gradients_digest),
    ):
        found = bits_digest(_mapped(recording.folder / name, shape))
        if found != digest:
            raise ParityError(
                f"{recording.folder / name}: altered since it was recorded (SHA-256 {found[:12]}..., "
                f"recording.json says {digest[:12]}...); restore it, or record it again with record.py"
            )


def bits_digest(bits: np.ndarray) -> str:
    """SHA-256 of an array of little-endian bits, in C order."""
    return hashlib.sha256(np.ascontiguousarray(bits).data).hexdigest()


def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    # numpy cannot map an array without bytes, and a recording without elements shows nothing.
    try:
        if math.prod(shape) == 0:
            raise ValueError("no elements")
        bits: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ParityError(f"{file}: recorded data is missing; restore it, or run record.py") from None
    except (OSError, ValueError, EOFError) as error:
        raise ParityError(f"{file}: not a readable array, perhaps cut short ({error})") from None
    if bits.dtype != np.dtype("<u4") or bits.shape != shape:
        raise ParityError(f"{file}: holds {bits.dtype} {bits.shape}, recording.json says uint32 {shape}")
    return bits
