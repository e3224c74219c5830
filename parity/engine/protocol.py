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
``square_root``: ``target``, ``dtype``, ``count``, ``folder`` (with radicands.npy and roots.npy, each one row of at
    least `count` elements)
    -> ``{"ok": true}`` once the first `count` roots are written, as the target's framework takes them
``quit`` -> the worker ends

A failure is ``{"ok": false, "kind": ..., "reason": one line}`` and ends that run only; with ``traceback``, where it
raised.
Kinds: ``unsupported`` and ``missing`` (the cell is SKIPPED), ``raised`` and ``contract`` (CRASHED).
Rows: see `parity.engine.window.Window.row`.
"""

from __future__ import annotations

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
