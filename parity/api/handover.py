"""A certificate of a hand-over: the side that took over, held against the side that went on."""

from __future__ import annotations

from pathlib import Path

from parity.api.report import certificate
from parity.api.run import run
from parity.case.recording import recording_in
from parity.case.replay import RECORDED
from parity.core.errors import UsageError
from parity.report.html.documents import write_certificate
from parity.report.panels.certificate import Certificate

TAKES_OVER = {
    ("keras", "torch"): "keras_adam_in_torch",
    ("keras", "keras"): "keras_adam",
    ("torch", "keras"): "torch_adam_in_keras",
    ("torch", "torch"): "torch_adam",
}
"""Whose Adam goes on from whose state; attributes of `parity.live.handed_over`."""


def certify_handover(recording: Path | str, to: str, output: Path | str) -> tuple[Certificate, tuple[Path, ...]]:
    """Whether what takes over makes the same of the gradients after a hand-over, and the files that say so.

    recording: of the side that was not interrupted, from the step after the hand-over on. to: the framework that takes
    over. output: of the run and the certificate. UsageError where nobody takes over from such an optimizer.
    """
    source = str(recording_in(Path(recording)).told["framework"])
    if (source, to) not in TAKES_OVER:
        raise UsageError(f"nothing is handed over from {source} to {to} by a certificate; allowed: keras, torch")
    target = f"parity.live.handed_over:{TAKES_OVER[source, to]}"
    made = run([recording], [target], output=output)
    name = next(one.expected for one in made.verdicts if one.expected.startswith("user."))
    found = certificate(output, RECORDED, name)
    return found, write_certificate(found, Path(output))
