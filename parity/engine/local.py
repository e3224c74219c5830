"""An implementation that is run in this process, behind the messages of a worker."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from parity.core.environment import describe_environment
from parity.engine.plan import LOCAL, Candidate
from parity.engine.worker import Message, answering
from parity.implementations.implementation import Implementation


class LocalWorker:
    """Answers for one implementation, at once; who calls it cannot be saved from a crash, and no time limit holds."""

    here = True

    def __init__(self, implementation: Implementation) -> None:
        self._implementation = implementation
        self._answer = answering(lambda target: self._implementation)
        self._answers: deque[Message] = deque()
        self.environment: dict[str, Any] = describe_environment()

    def send(self, message: Message) -> None:
        """Do what is asked; the answer waits."""
        # What overflows is what is measured; where warnings are errors it must still come to its end.
        with np.errstate(all="ignore"):
            self._answers.append(self._answer(message))

    def receive(self, timeout: float | None) -> Message:
        """The next answer."""
        return self._answers.popleft()

    def ask(self, message: Message, timeout: float | None) -> Message:
        """Send and receive."""
        self.send(message)
        return self.receive(timeout)

    def close(self) -> None:
        """There is no process to end."""

    def end(self) -> None:
        """There is no process to end."""

    def kill(self) -> None:
        """There is no process to end."""


def local_candidate(implementation: Implementation) -> Candidate:
    """What an implementation is to the engine when it is run in this process."""
    return Candidate(
        name=implementation.name,
        target=implementation.name,
        worker=f"{implementation.name}{LOCAL}",
        dtypes=implementation.dtypes,
        convention=implementation.convention,
        defaults=implementation.defaults,
        plugin=True,
    )
