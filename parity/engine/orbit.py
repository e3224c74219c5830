"""One implementation on its way through one case, inside a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from parity.comparison.trace import create_rows, open_rows
from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.state import QUANTITIES, Arrays, State
from parity.engine.protocol import GRADIENTS, PROGRESS, WEIGHTS
from parity.engine.window import Window
from parity.implementations.implementation import WHOLE, Implementation, Leg
from parity.numerics.formats import FORMATS, Format, format_named, formats_in, in_format, numbers, row_format, widest

MOMENTS = ("m", "v", "vmax")

HANDED_OVER = "state.npz"


class ContractBroken(Exception):
    """The implementation did something that its contract forbids; one line says what."""


class Orbit:
    """Drives a generator of states and copies each state's bits into the rows of its step.

    trusted: the implementation is parity's own, whose tests show that it leaves its inputs alone;
    a plug-in's inputs are private copies, held against the originals after every step. counts: how many steps each
    parameter has counted before the first, None where the case begins with none. leg: which part of the orbit, and
    last, its last step; what takes no leg is handed its state over as a start. wider: dtypes of the parameters, for
    moments that are wider than the weights. strided: whether gradients lie in every other place of memory.
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
        counts: list[int] | None = None,
        leg: Leg = WHOLE,
        last: int | None = None,
        strided: bool = False,
    ) -> None:
        self.format, self.layout, self.window = format, layout, window
        self.trusted = trusted
        self.quantities: tuple[str, ...] | None = None
        self.wider: dict[str, list[str]] = {}
        self._own = formats_in(layout, format)
        self._stored = row_format(layout, format)
        self._formats: dict[str, tuple[Format, ...]] = {"w": self._own}
        self._output = output
        self._leg, self._last = leg, last or window.steps
        self._strided = strided
        self.states: Iterator[State] = iter(())
        self._step = leg.first - 1
        self._available = 0
        self._none: Mapping[str, list[str]] = {}
        self._lacked = False
        # A private mapping ('c'): a plug-in that writes through the read-only flag hurts only itself.
        self._weights = open_rows(input, WEIGHTS, "c")
        self._gradients = open_rows(input, GRADIENTS, "c")
        self._original_weights = open_rows(input, WEIGHTS, "r")
        self._original_gradients = open_rows(input, GRADIENTS, "r")
        # Nobody is asked for an average that no case asks for.
        asked = (one for one in QUANTITIES if one != "average" or hyper.stages.shows_average)
        self._rows = {quantity: open_rows(output, quantity, "r+") for quantity in asked}
        names = [parameter.name for parameter in layout.parameters]
        self._counts = dict(zip(names, counts or [0] * len(names), strict=True))
        self._steps: Mapping[str, int] | None = None
        start = None if counts is None else self._given(input, hyper)
        if window.kept:
            self._rows["w"][0] = self._original_weights[0]
            for quantity in MOMENTS if counts is not None else ():
                self._rows[quantity][0] = open_rows(input, quantity, "r")[0]
        self._progress = open_rows(output, PROGRESS, "r+")
        weights = self._views(self._weights[0])
        self._hands_over = leg != WHOLE and not implementation.takes_leg
        if self._hands_over and not implementation.takes_start:
            raise Unsupported(
                f"{implementation.name}: its run takes neither leg nor start; a restart needs one of them"
            )
        if self._hands_over and leg.load is not None:
            start = self._handed_over(leg.load)
            weights = dict(start.w)
            # Whoever is given a start begins a run of its own.
            hyper = hyper.since(leg.first)
        passed = WHOLE if self._hands_over else leg
        states = implementation.states(weights, self._sequence(), hyper, start, passed)
        if not isinstance(states, Iterator):
            raise ContractBroken(
                f"returned a {type(states).__name__}, not a generator of parity.State: yield one after every gradient"
            )
        self.states = states

    def advance(self, until: int, none: Mapping[str, list[str]]) -> None:
        """Make every state up to a 1-based step; ContractBroken or the implementation's own exception."""
        self._available, self._none = until, none
        self._lacked = self._lacked or any(none.values())
        while self._step < until:
            self._available = self._step + 1
            try:
                state = next(self.states)
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
        """Let the generator run out, and save where another process goes on; ContractBroken where it yields more."""
        try:
            next(self.states)
        except StopIteration:
            if self._hands_over and self._leg.save is not None:
                self._hand_over(self._leg.save)
            return
        raise ContractBroken(
            f"yielded more than {self.window.steps} states for {self.window.steps} gradients: too many"
        )

    def _given(self, input: Path, hyper: Hyper) -> State:
        """What a case begins with."""
        m, v, vmax = (self._views(open_rows(input, quantity, "c")[0]) for quantity in MOMENTS)
        return State(self._views(self._weights[0]), m, v, vmax if hyper.amsgrad else None, dict(self._counts))

    def _hand_over(self, folder: Path) -> None:
        """Keeps the bits of the last state, and how many steps it counted."""
        steps = self._steps
        if steps is None:
            if self._lacked:
                raise Unsupported("its states say no steps, and some gradients were None: nobody knows what it counted")
            steps = {name: count + self._last for name, count in self._counts.items()}
        if self.quantities is None or not {"m", "v"} <= set(self.quantities):
            raise Unsupported("it hides m or v, and takes no leg: what it holds cannot be handed over")
        row = self.window.row(self._last)
        formats = {quantity: widest(self._formats[quantity]) for quantity in self.quantities}
        kept = {one: in_format(self._row(one, row), format).view(format.unsigned) for one, format in formats.items()}
        kept["steps"] = np.array(list(steps.values()), np.int64)
        kept["formats"] = np.array([[one.name for one in self._formats[each]] for each in self.quantities])
        np.savez(folder / HANDED_OVER, allow_pickle=False, **kept)

    def _handed_over(self, folder: Path) -> State:
        with np.load(folder / HANDED_OVER, allow_pickle=False) as kept:
            shown = [quantity for quantity in QUANTITIES if quantity in kept]
            formats = {
                one: tuple(map(format_named, row)) for one, row in zip(shown, kept["formats"].tolist(), strict=True)
            }
            states = {quantity: self._views(kept[quantity], formats[quantity]) for quantity in shown}
            steps = dict(zip(self._counts, kept["steps"].tolist(), strict=True))
        return State(**states, steps=steps)

    def _views(self, bits: np.ndarray, formats: tuple[Format, ...] | None = None) -> dict[str, np.ndarray]:
        """Parameters of a row, each in its own format, where another is not given."""
        own = formats or self._own
        row = bits.view(widest(own).dtype)
        row.flags.writeable = False
        found = self.layout.views(row)
        for parameter, format in zip(self.layout.parameters, own, strict=True):
            found[parameter.name] = in_format(found[parameter.name], format)
            found[parameter.name].flags.writeable = False
        return found

    def _sequence(self) -> Iterator[dict[str, np.ndarray | None]]:
        for step in range(self._leg.first, self._last + 1):
            if step > self._available:
                raise ContractBroken(
                    f"asked for the gradient of step {step} before it yielded the state of step {step - 1}"
                    if self._available
                    else "asked for a gradient before it was a generator: yield a State after every gradient, and "
                    "return nothing"
                )
            views = self._views(self._gradients[self.window.row(step)])
            gradients: dict[str, np.ndarray | None] = {
                name: _strided(one) if self._strided else one for name, one in views.items()
            }
            for name in self._none.get(str(step), ()):
                gradients[name] = None
            yield gradients

    def _store(self, state: State) -> None:
        if not isinstance(state, State):
            raise ContractBroken(f"yielded a {type(state).__name__}, not a parity.State(w=..., m=..., v=...)")
        shown = tuple(quantity for quantity in self._rows if getattr(state, quantity) is not None)
        if "w" not in shown:
            raise ContractBroken("yielded no weights (w is None)")
        if self.quantities is None:
            self.quantities = shown
        elif shown != self.quantities:
            raise ContractBroken(f"shows {', '.join(shown)} where it showed {', '.join(self.quantities)} before")
        # The weights first: where they are of a wrong dtype, nobody wanted moments to be wide.
        for quantity in reversed(shown):
            self._copy(quantity, getattr(state, quantity))
        self._steps = state.steps if state.steps is None else dict(state.steps)

    def _copy(self, quantity: str, arrays: Arrays) -> None:
        if not isinstance(arrays, Mapping):
            raise ContractBroken(f"{quantity} is a {type(arrays).__name__}, not a dict of arrays by parameter name")
        surplus = sorted(set(arrays) - {parameter.name for parameter in self.layout.parameters})
        if surplus:
            raise ContractBroken(f"{quantity} has {surplus[0]!r}, which is no parameter of the case")
        for parameter in self.layout.parameters:
            if parameter.name not in arrays:
                raise ContractBroken(f"{quantity} lacks the parameter {parameter.name!r}")
            array = arrays[parameter.name]
            if not isinstance(array, np.ndarray) and not isinstance(array, np.generic):
                kind = type(array)
                mend = ": .detach().numpy() is one" if kind.__module__ == "torch" else ": numpy.asarray makes one"
                raise ContractBroken(f"{quantity}[{parameter.name!r}] is a {kind.__name__}, not a NumPy array{mend}")
            if array.shape != parameter.shape:
                raise ContractBroken(
                    f"{quantity}[{parameter.name!r}] has shape {array.shape}, the case has {parameter.shape}"
                )
        formats = self._formats.get(quantity)
        if formats is None:
            formats = self._formats[quantity] = self._shown_in(quantity, arrays)
        row = self._row(quantity, self.window.row(self._step))
        for (parameter, place), format, own in zip(self.layout.slices(), formats, self._own, strict=True):
            array = arrays[parameter.name]
            if array.dtype != format.dtype:
                raise ContractBroken(self._other_dtype(quantity, parameter, array.dtype, format, own))
            row[place].reshape(parameter.shape)[...] = array

    def _row(self, quantity: str, place: int) -> np.ndarray:
        """A row of numbers as it is stored; another leg may have shown what is wider."""
        return numbers(self._rows[quantity][place], widest(self._formats[quantity]))

    def _other_dtype(
        self, quantity: str, parameter: Parameter, found: np.dtype[np.generic], expected: Format, own: Format
    ) -> str:
        told = f"{quantity}[{parameter.name!r}] is {found.name}"
        if expected is not own:
            return f"{told} where it was {expected.name} before"
        asked = f"{parameter.name!r} is {own.name}" if parameter.dtype else f"the case runs in {own.name}"
        return f"{told}, {asked}: {_promotion(found, own)}"

    def _shown_in(self, quantity: str, arrays: Arrays) -> tuple[Format, ...]:
        """The formats of moments, each at least that of its weights; rows that are too narrow are put aside."""
        found = []
        for parameter, own in zip(self.layout.parameters, self._own, strict=True):
            format = FORMATS.get(arrays[parameter.name].dtype.name, own)
            found.append(format if widest((format, own)) is format else own)
        formats, rows = tuple(found), self._rows[quantity]
        if formats != self._own:
            self.wider[quantity] = [one.name for one in formats]
        if widest(formats).dtype.itemsize > rows.itemsize:
            # Whoever has mapped the file keeps what it was.
            (self._output / f"{quantity}.npy").unlink()
            made = create_rows(self._output, quantity, len(rows), self.layout, widest(formats))
            if self.window.kept:
                made[0].view(widest(formats).dtype)[...] = rows[0].view(self._stored.dtype)
            self._rows[quantity] = made
        return formats

    def _check_inputs(self) -> None:
        row = self.window.row(self._step)
        if not np.array_equal(self._gradients[row], self._original_gradients[row]):
            raise ContractBroken("wrote into its gradients: change a copy, g = g.copy()")
        if not np.array_equal(self._weights, self._original_weights):
            raise ContractBroken("wrote into the initial weights it was given: begin with copies of them")


def _strided(array: np.ndarray) -> np.ndarray:
    """The same numbers in every other place of memory, read-only."""
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    view = wide[..., 0]
    view.flags.writeable = False
    return view


def _promotion(found: np.dtype[np.generic], format: Format) -> str:
    """How an array may have come to another dtype, and how to mend it."""
    if found == np.float32 and format.name == "bfloat16":
        return "a Python float times a bfloat16 array is float32; use array.dtype.type(x), or cast with .astype"
    if found == np.float64:
        scalar = f"a NumPy float64 times a {format.name} array is float64"
        return f"{scalar}; keep scalars as Python floats, or cast with .astype"
    return "cast it with .astype"
