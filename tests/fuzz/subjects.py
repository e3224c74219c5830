"""Kinds of input: what a valid one is, which commands read it, and when a green answer would be a wrong one."""

from __future__ import annotations

from answers import Answers
from asked import Cases, Maps
from commands import NoProcess
from kept import Baselines, Runs, Traces
from recordings import Recordings

KINDS = (Cases, Recordings, Traces, Runs, Baselines, Maps, Answers, NoProcess)
