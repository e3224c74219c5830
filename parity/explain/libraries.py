"""The square roots of the frameworks, each asked in one process for as long as it is needed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

from parity.adam.arithmetic import Arithmetic
from parity.adam.scalars import ArraySquareRoot
from parity.core.errors import ParityError
from parity.engine.square_root import LibrarySquareRoot
from parity.implementations.registry import shipped_implementations


class Libraries:
    """Square roots by framework, for several threads; a context manager.

    A process starts with the first root it is asked for. python: the interpreter whose frameworks are asked, empty for
    this one; variables: of their environment, beside those of this process.
    """

    def __init__(
        self,
        timeout: float | None = 300.0,
        python: str = "",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._timeout = timeout
        self._python, self._variables = python, variables
        self._roots: dict[str, LibrarySquareRoot] = {}
        self._lock = threading.Lock()
        self._plugins: dict[str, str] = {}

    def admit(self, name: str, target: str) -> None:
        """A user's own implementation, whose framework can be asked as well."""
        self._plugins[name] = target

    def of(self, implementation: str) -> LibrarySquareRoot | None:
        """The square root of an implementation's framework, None where nobody can ask it."""
        shipped = shipped_implementations().get(implementation)
        if implementation in self._plugins:
            place = target = self._plugins[implementation]
        elif shipped is not None and (shipped.square_root or shipped.reciprocal_root):
            place, target = shipped.framework, implementation
        else:
            return None
        with self._lock:
            if place not in self._roots:
                reciprocal = shipped is not None and shipped.reciprocal_root is not None
                self._roots[place] = LibrarySquareRoot(
                    target, self._timeout, self._python, self._variables, reciprocal=reciprocal
                )
            return self._roots[place]

    def __enter__(self) -> Libraries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for root in self._roots.values():
            root.__exit__(kind, error, trace)
        self._roots.clear()

    def for_twin(self, implementation: str, arithmetic: Arithmetic) -> ArraySquareRoot | None:
        """What an arithmetic that an implementation claims needs; ParityError where its framework offers none."""
        if self.serve(implementation, arithmetic):
            return self.of(implementation)
        if arithmetic.asks_library:
            raise ParityError(f"{implementation} offers no square root of its own, and its arithmetic asks for one")
        return None

    def serve(self, implementation: str, arithmetic: Arithmetic) -> bool:
        """Whether an implementation's framework has that root of its own which an arithmetic takes."""
        if not arithmetic.asks_library and not arithmetic.refines:
            return False
        root = self.of(implementation)
        return root is not None and root.reciprocal == arithmetic.refines
