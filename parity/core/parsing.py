"""Trees of Python's syntax, which one thread at a time may build."""

from __future__ import annotations

from threading import Lock

ONE_TREE = Lock()
"""Held around `ast.parse`, and around `numpy.load`, which reads the header of an array by `ast.literal_eval`.

CPython 3.11 counts the depth of a tree in one place for all threads: two at once end in a SystemError (gh-106905).
"""
