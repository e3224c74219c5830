"""Ctrl-C that is pressed more than once."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def interrupt_once() -> bool:
    """Let the first Ctrl-C raise KeyboardInterrupt and the next ones do nothing, as they find everything ending.

    Whether that was arranged: only where the usual handler stood, as no other one is to be replaced.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGINT, _interrupt)
    return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
