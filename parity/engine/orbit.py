"""One implementation on its way through one case, inside a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from parity.comparison.trace import open_rows
from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.state import QUANTITIES, Arrays, State
from parity.engine.protocol import GRADIENTS, PROGRESS, WEIGHTS
from parity.engine.window import Window
from parity.implementations.implementation import Implementation
from parity.numerics.formats import Format


class ContractBroken(Exception):
    """The implementation did something that its contract forbids; one line says what."""


class Orbit:
    """Drives a generator of states and copies each state's bits into the rows of its step.

    trusted: the implementation is parity's own, whose tests show that it leaves its inputs alone;
    a plug-in's inputs are private copies, held against the originals after every step.
    """

    def __init__(
        self,
        implementation: Implementation,
        *,
        format: Format,
        layout: Layout,
        hyper: Hyper,
        window: Window,
        input: Path,
        output: Path,
        trusted: bool,
    ) -> None:
        self.format, self.layout, self.window = format, layout, window
        self.trusted = trusted
        self.quantities: tuple[str, ...] | None = None
        self._step = 0
        self._available = 0
        self._none: Mapping[str, list[str]] = {}
        # A private mapping ('c'): a plug-in that writes through the read-only flag hurts only itself.
        self._weights = open_rows(input, WEIGHTS, "c")
        self._gradients = open_rows(input, GRADIENTS, "c")
        self._original_weights = open_rows(input, WEIGHTS, "r")
        self._original_gradients = open_rows(input, GRADIENTS, "r")
        self._rows = {quantity: open_rows(output, quantity, "r+") for quantity in QUANTITIES}
        if window.kept:
            self._rows["w"][0] = self._original_weights[0]
        self._progress = open_rows(output, PROGRESS, "r+")
        states = implementation.states(self._views(self._weights[0]), self._sequence(), hyper)
        if not isinstance(states, Iterator):
            raise ContractBroken(f"returned a {type(states).__name__}, not a generator of parity.State")
        self._states = states

    def advance(self, until: int, none: Mapping[str, list[str]]) -> None:
        """Make every state up to a 1-based step; ContractBroken or the implementation's own exception."""
        self._available, self._none = until, none
        while self._step < until:
            self._available = self._step + 1
            try:
                state = next(self._states)
            except StopIteration:
                raise ContractBroken(
                    f"yielded {self._step} states for {self.window.steps} gradients: too few"
                ) from None
            except Unsupported as error:
                if self._step:
                    raise ContractBroken(f"raised Unsupported after its first state: {error}") from error
                raise
            self._step += 1
            self._store(state)
            if not self.trusted:
                self._check_inputs()
            self._progress[0] = self._step

    def finish(self) -> None:
        """Let the generator run out; ContractBroken where it yields once more."""
        try:
            next(self._states)
        except StopIteration:
            return
        raise ContractBroken(
            f"yielded more than {self.window.steps} states for {self.window.steps} gradients: too many"
        )

    def _views(self, bits: np.ndarray) -> dict[str, np.ndarray]:
        row = bits.view(self.format.dtype)
        row.flags.writeable = False
        return self.layout.views(row)

    def _sequence(self) -> Iterator[dict[str, np.ndarray | None]]:
        for step in range(1, self.window.steps + 1):
            if step > self._available:
                raise ContractBroken(
                    f"asked for the gradient of step {step} before it yielded the state of step {step - 1}"
                )
            gradients: dict[str, np.ndarray | None] = dict(self._views(self._gradients[self.window.row(step)]))
            for name in self._none.get(str(step), ()):
                gradients[name] = None
            yield gradients

    def _store(self, state: State) -> None:
        if not isinstance(state, State):
            raise ContractBroken(f"yielded a {type(state).__name__}, not a parity.State")
        shown = tuple(quantity for quantity in QUANTITIES if getattr(state, quantity) is not None)
        if "w" not in shown:
            raise ContractBroken("yielded no weights (w is None)")
        if self.quantities is None:
            self.quantities = shown
        elif shown != self.quantities:
            raise ContractBroken(f"shows {', '.join(shown)} where it showed {', '.join(self.quantities)} before")
        for quantity in shown:
            self._copy(quantity, getattr(state, quantity))

    def _copy(self, quantity: str, arrays: Arrays) -> None:
        target = self._rows[quantity][self.window.row(self._step)]
        if not isinstance(arrays, Mapping):
            raise ContractBroken(f"{quantity} is a {type(arrays).__name__}, not a dict of arrays by parameter name")
        surplus = sorted(set(arrays) - {parameter.name for parameter in self.layout.parameters})
        if surplus:
            raise ContractBroken(f"{quantity} has {surplus[0]!r}, which is no parameter of the case")
        for parameter, place in self.layout.slices():
            if parameter.name not in arrays:
                raise ContractBroken(f"{quantity} lacks the parameter {parameter.name!r}")
            array = arrays[parameter.name]
            if not isinstance(array, np.ndarray) and not isinstance(array, np.generic):
                raise ContractBroken(f"{quantity}[{parameter.name!r}] is a {type(array).__name__}, not a NumPy array")
            if array.dtype != self.format.dtype:
                raise ContractBroken(
                    f"{quantity}[{parameter.name!r}] is {array.dtype.name}, the case runs in {self.format.name}"
                )
            if array.shape != parameter.shape:
                raise ContractBroken(
                    f"{quantity}[{parameter.name!r}] has shape {array.shape}, the case has {parameter.shape}"
                )
            target[place].reshape(parameter.shape).view(self.format.dtype)[...] = array

    def _check_inputs(self) -> None:
        row = self.window.row(self._step)
        if not np.array_equal(self._gradients[row], self._original_gradients[row]):
            raise ContractBroken("wrote into its gradients")
        if not np.array_equal(self._weights, self._original_weights):
            raise ContractBroken("wrote into the initial weights it was given")
