"""Whether a target takes hyperparameters that one tensor has for itself, and betas that change from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from parity.core.hyper import Hyper
from parity.identify.answer import Answer, Finding
from parity.identify.probes import BETAS, GROUPS, Observation

Read = Callable[[Mapping[str, Observation]], Answer]
"""What the numbers of observations say."""


def _of_all(hyper: Hyper) -> Hyper:
    return replace(hyper, groups=())


def _of_the_first_step(hyper: Hyper) -> Hyper:
    beta1, beta2 = hyper.betas_at(1)
    return replace(hyper, beta1=beta1, beta2=beta2)


_ASKED: Mapping[str, tuple[str, Callable[[Hyper], Hyper], str]] = {
    GROUPS: ("where one tensor has hyperparameters of its own", _of_all, "those of all are taken for every tensor"),
    BETAS: ("where betas change", _of_the_first_step, "those of the first step are taken at every step"),
}
"""By probe: its occasion, what is asked where no notice is taken of it, and what that is in words."""


def own_hyperparameters(
    observations: Mapping[str, Observation], known: Answer, read: Read
) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """What departs there beside what is known, and by probe what the target takes no notice of.

    Each probe is read by itself: its rule has to be that of all others, whose kinds of departures are none of its own.
    """
    families = {one.family for one in known.departures}
    findings: list[Finding] = []
    ignored: dict[str, str] = {}
    for name, (occasion, unnoticed, told) in _ASKED.items():
        if name not in observations:
            continue
        observed = observations[name]
        found = read({name: observed})
        beyond = [one for one in found.departures if one.family not in families]
        if found.verdict != "unexplained" and not beyond:
            continue
        probe = observed.probe
        without = read({name: replace(observed, probe=replace(probe, hyper=unnoticed(probe.hyper)))})
        if without.verdict != "unexplained" and {one.family for one in without.departures} <= families:
            ignored[name] = told
        elif found.verdict == "unexplained":
            detail = f"{occasion}, weights follow no rule that is known"
            findings.append(Finding("unexplained", detail, {"probe": name}))
        else:
            findings += [
                replace(one, detail=f"{occasion}, {one.detail}", evidence={**one.evidence, "probe": name})
                for one in beyond
            ]
    return tuple(findings), ignored
