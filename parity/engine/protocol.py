"""The messages between engine and worker.

A worker is any program that reads one JSON object a line on standard input and answers each with
one line on its original standard output, in order. Arrays never travel: both sides map the same
files (`.npy`, integer bits). Requests, by their ``op``:

``hello``
    -> ``{"ok": true, "protocol": 1, "environment": {...}}``
``describe``: ``target``
    -> name, dtypes, needs, missing (needs that are not met), convention, defaults (hex floats), square_root (whether it
    can be asked for its framework's)
``start``: ``run`` (an id), ``target``, ``dtype``, ``parameters`` (name, shape, offset; ``dtype`` where it
    has its own), ``hyper`` (hex floats), ``steps``, ``batch``, ``rows``, ``input`` (folder with weights.npy and
    gradients.npy), ``output`` (folder with w.npy, m.npy, v.npy, vmax.npy, progress.npy,
    and average.npy where the case asks for one that overwrites nothing, into which
    the worker writes the last step that is stored: the engine reads it where the process dies)
    -> ``{"ok": true}``; nothing has been computed yet. Where a case begins with a state: ``counts`` (steps by
    parameter), and m.npy, v.npy, vmax.npy in `input`. Where this is a part of an orbit between two restarts: ``first``
    and ``last`` (1-based steps), ``load`` and ``save`` (folders; see `parity.implementations.implementation.Leg`)
``advance``: ``run``, ``until`` (1-based step), ``none`` (step -> names whose gradient is None)
    -> ``{"ok": true, "step": until, "quantities": [...]}`` once the rows of all steps are written; with ``formats``
    (quantity -> dtype of every parameter) where moments are wider than the weights: the worker has then put a wider
    file in the place of that quantity's
``finish``: ``run`` -> ``{"ok": true, "machine": {...}}`` where the implementation ends with its gradients, and has
    saved its state; machine: the instruction sets and threads of the frameworks that it has loaded
``drop``: ``run`` -> ``{"ok": true}``; forget a run
``square_root``: ``target``, ``dtype``, ``count``, ``reciprocal``, ``folder`` (with radicands.npy and roots.npy, each
    one row of at least `count` elements)
    -> ``{"ok": true}`` once the first `count` roots, or 1 / root, are written, as the target's framework takes them
``quit`` -> the worker ends

A failure is ``{"ok": false, "kind": ..., "reason": one line}`` and ends that run only; with ``traceback``, where it
raised.
Kinds: ``unsupported`` and ``missing`` (the cell is SKIPPED), ``raised`` and ``contract`` (CRASHED).
Rows: see `parity.engine.window.Window.row`.
"""

from __future__ import annotations

from typing import Any

from parity.core.state import QUANTITIES

PROTOCOL = 1

UNSUPPORTED = "unsupported"
MISSING = "missing"
RAISED = "raised"
CONTRACT = "contract"
DIED = "died"
HUNG = "hung"
INTERRUPTED = "interrupted"

SKIPPING_KINDS = frozenset({UNSUPPORTED, MISSING})
"""Failures that leave a cell SKIPPED; all others leave it CRASHED."""

WEIGHTS = "weights"
GRADIENTS = "gradients"
PROGRESS = "progress"
RADICANDS = "radicands"
ROOTS = "roots"


def misshapen(answer: dict[str, Any], steps: int) -> str:
    """What in an answer to a request of a run can be no answer, empty where nothing is; steps: of the run."""
    ok, step = answer.get("ok"), answer.get("step", 0)
    if not isinstance(ok, bool):
        return "ok is neither true nor false"
    if not ok:
        words = {key: answer.get(key, "") for key in ("kind", "reason", "traceback")}
        return next((f"{key} is no word" for key, one in words.items() if not isinstance(one, str)), "") or (
            "" if words["kind"] else "it says not of what kind a failure is"
        )
    if "step" not in answer:
        return "" if isinstance(answer.get("machine", {}), dict) and "formats" not in answer else "machine or formats"
    if type(step) is not int or not 0 <= step <= steps:
        return "step is no step of the run"
    shown, formats = answer.get("quantities"), answer.get("formats", {})
    if not isinstance(shown, list) or not all(one in QUANTITIES for one in shown) or (shown and "w" not in shown):
        return "quantities are none"
    if not isinstance(formats, dict) or not all(
        key in shown and isinstance(one, list) and all(isinstance(each, str) for each in one)
        for key, one in formats.items()
    ):
        return "formats are none"
    return ""
