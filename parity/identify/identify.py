"""Which Adam a target is: its answers to the probes, a bit-exact search, and what the numbers themselves say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from parity.adam.convention import Epsilon
from parity.adam.scalars import ArraySquareRoot
from parity.adam.twin import Twin
from parity.core.errors import ParityError, TargetError
from parity.engine.plan import Candidate
from parity.engine.square_root import LibrarySquareRoot
from parity.identify.answer import FAILED, IGNORED, LEFT_OPEN, LEFT_OUT, Answer, Finding
from parity.identify.bias_correction import PAPER
from parity.identify.in_force import FAMILIES, FOREIGN, InForce, certainly_another
from parity.identify.laws import ASIDE, findings_of, laws, not_finite_gradients
from parity.identify.other_optimizers import NOTHING, answer_of, nearest_rule, orthogonalised, other_optimizer
from parity.identify.own_hyperparameters import own_hyperparameters
from parity.identify.probed import Probed
from parity.identify.probes import BETAS, GROUPS, MAIN, Narrowing, Observation, in_formats_held, in_one_format
from parity.identify.probing import OnProbe, not_finite, probe
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import format_of, widest


def identify(
    candidate: Candidate,
    dtypes: Sequence[str] = (),
    *,
    timeout: float | None = 300.0,
    hide_moments: bool = False,
    logs: Path | None = None,
    claim: Mapping[str, object] = MappingProxyType({}),
    on_done: OnProbe = lambda name, done, total: None,
) -> dict[str, Answer]:
    """Which Adam a target is, by dtype; all that it runs in where none is named.

    claim: choices of its formula by name, as `Answer.convention` has them, beside what it says of itself. timeout:
    seconds the target may take for one probe. hide_moments: as if it showed its weights only. logs: where those of its
    processes are kept. on_done: told of every probe that was asked. A dtype or a probe that fails is a row of its own;
    ParityError, one line, where none has an answer.
    """
    wanted = list(dict.fromkeys(dtypes)) or candidate.dtypes
    beside = ThreadPoolExecutor(1)
    beside.submit(_import_readers)
    beside.shutdown(wait=False)
    probed = probe(candidate, wanted, timeout, hide_moments=hide_moments, logs=logs, on_done=on_done)
    return answers(candidate, probed, timeout, claim=claim)


def _import_readers() -> None:
    """What reads answers, with its compiler, is imported while the target makes them."""
    import parity.identify.exact
    import parity.identify.fit  # noqa: F401


def answers(
    candidate: Candidate,
    probed: Mapping[str, Probed],
    timeout: float | None = 300.0,
    *,
    claim: Mapping[str, object] = MappingProxyType({}),
    beside: Mapping[str, Observation] = MappingProxyType({}),
) -> dict[str, Answer]:
    """What a target that has been asked has shown to be, by dtype; as `identify`.

    beside: what it has shown elsewhere, by dtype, which its rule has to explain as well.
    """
    if not any(one.observations for one in probed.values()):
        raise _answers_nothing(candidate.name, probed)
    with _square_root(candidate.target, timeout, asked=candidate.roots) as library:
        claimed = _claim(candidate.convention, claim)
        return {dtype: _answer(_with(one, beside.get(dtype)), claimed, library) for dtype, one in probed.items()}


def _with(probed: Probed, beside: Observation | None) -> Probed:
    """With one observation more, where there is any."""
    if beside is None or not probed.observations:
        return probed
    return replace(probed, observations={**probed.observations, beside.probe.name: beside})


def _answers_nothing(name: str, probed: Mapping[str, Probed]) -> ParityError:
    for dtype, one in probed.items():
        if (failed := one.failed) is not None:
            return TargetError(f"{name} in {dtype}, probe {failed.name!r}: {failed.reason}", failed.traceback)
    first = next(refused for one in probed.values() for refused in one.refused)
    return ParityError(f"{name}: answers no question: {first.reason}")


def identify_observation(observation: Observation, implementation: str, timeout: float | None = 300.0) -> Answer:
    """Which Adam left a trace or a recording. implementation: its name, which may be one whose claim is known."""
    known = shipped_implementations().get(implementation)
    probed = Probed({observation.probe.name: observation})
    with _square_root(implementation, timeout) as library:
        return _answer(probed, _claim(None if known is None else known.convention), library)


@contextmanager
def _square_root(target: str, timeout: float | None, *, asked: bool = False) -> Iterator[LibrarySquareRoot | None]:
    """The square root of a target's framework, or its reciprocal, where it can be asked."""
    known = shipped_implementations().get(target)
    reciprocal = known is not None and known.reciprocal_root is not None
    if not (asked or reciprocal or (known is not None and known.square_root is not None)):
        yield None
        return
    with LibrarySquareRoot(target, timeout, reciprocal=reciprocal) as library:
        yield library


_CHOICES = {
    "epsilon": "found",
    "bias_correction": "divisors",
    "step_count": "count",
    "weight_decay": "coupled",
    "amsgrad": "vmax",
}
"""Choices of a convention, each with an entry of the evidence for a departure in it."""


def _claim(own: str | None, claim: Mapping[str, object] = MappingProxyType({})) -> Mapping[str, object]:
    """What is claimed. own: the target's word for where eps stands, with which goes what t counts."""
    counts = "per_parameter" if own == Epsilon.OUTSIDE else "global"
    return {**({} if own is None else {"epsilon": own, "step_count": counts}), **claim}


def _departing(answer: Answer, claim: Mapping[str, object]) -> Answer:
    """The answer with those departures only that differ from what was claimed or asked.

    Where eps stands and what t counts departs from nothing where nobody claimed it.
    """
    agreed = {_CHOICES[name] for name in _CHOICES if name in claim and answer.convention.get(name) == claim[name]}
    if "epsilon" not in claim and answer.convention.get("epsilon") in tuple(Epsilon):
        agreed.add("found")
    if "step_count" not in claim:
        agreed.add("count")
    return replace(answer, causes=tuple(one for one in answer.causes if not agreed.intersection(one.evidence)))


def _with_storage(answer: Answer, observations: Mapping[str, Observation]) -> Answer:
    """With moments that are wider than the weights as a departure, not what is as narrow as was asked."""
    kept = {name: format for one in observations.values() for name, format in one.kept.items()}
    shown = {name for name in ("m", "v", "vmax") for one in observations.values() if getattr(one, name) is not None}
    wider = sorted(shown - set(kept))
    if "w" not in kept or not wider:
        return answer
    wide = next(iter(observations.values())).probe.format.name
    asked = {f"{name} is kept in {format.name}" for name, format in kept.items()}
    detail = f"{_are(wider)} kept in {wide}, weights in {kept['w'].name}"
    finding = Finding("state-storage", detail, {"formats": dict.fromkeys(wider, wide)})
    return replace(answer, causes=(*(one for one in answer.causes if one.detail not in asked), finding))


def _are(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]} are" if names[1:] else f"{names[0]} is"


def _shown_wider(shown: Sequence[str], observations: Mapping[str, Observation]) -> Finding:
    """That a state is handed over in a wider format than that in which it is computed, which is no departure."""
    rows = [getattr(one, name) for one in observations.values() for name in shown]
    wide = widest(format_of(row) for row in rows if row is not None).name
    own = next(iter(observations.values())).probe.format.name
    detail = f"{_are(shown)} shown in {wide}, and {'hold' if shown[1:] else 'holds'} numbers of {own} only"
    return Finding("state-storage", detail, {"shown": wide}, benign=True)


def _answer(probed: Probed, claim: Mapping[str, object], library: ArraySquareRoot | None) -> Answer:
    reasons: dict[str, dict[str, str]] = {LEFT_OUT: {}, FAILED: {}}
    for one in probed.refused:
        reasons[FAILED if one.failed else LEFT_OUT][one.name] = one.reason
    tracebacks = tuple(dict.fromkeys(one.traceback for one in probed.refused if one.traceback))
    answer = Answer("unexplained", {}, None, "", (), {})
    held, shown = in_formats_held(probed.observations)
    observations = in_one_format(held)
    fitted = {name: one for name, one in observations.items() if name not in ASIDE}
    unsteady = probed.unsteady
    if unsteady is not None and not unsteady.evidence.get("rounding"):
        # What differs from run to run is no answer: nothing else may be read out of it.
        answer = replace(answer, causes=(unsteady,))
    elif fitted:
        epsilon = next((str(one) for one in Epsilon if one == claim.get("epsilon")), None)
        (answer, taken), broken = _of_sound(fitted, epsilon, library, exact=unsteady is None)
        answer = _departing(_with_storage(answer, fitted), claim)
        if shown:
            answer = replace(answer, causes=(*answer.causes, _shown_wider(shown, probed.observations)))
        reasons[FAILED] |= broken
        answer = _beside(answer, observations)
        if answer.convention and answer.verdict != "unexplained":
            answer = _with_own(answer, observations, epsilon, claim)
            answer = _with_bits_of_own(answer, taken, observations, epsilon, library)
        if unsteady is not None and answer.verdict == "unexplained":
            answer = replace(Answer("unexplained", {}, None, "", (), {}), causes=(unsteady,))
        elif unsteady is not None:
            answer = replace(answer, causes=(*answer.causes, unsteady))
    failure = "" if answer.verdict == "explained" else reasons[FAILED].get(MAIN, "")
    residual = {**answer.residual, **{key: told for key, told in reasons.items() if told}}
    asked = tuple(probed.observations)
    return replace(answer, residual=residual, failure=failure, tracebacks=tracebacks, asked=asked)


def _beside(answer: Answer, observations: Mapping[str, Observation]) -> Answer:
    """With what the exact laws and gradients that are no numbers have shown."""
    kept, not_finite = laws(observations), not_finite_gradients(observations)
    causes = answer.causes
    if answer.convention:
        causes = (*causes, *findings_of(not_finite))
        broken = [law for law, told in kept.items() if told.startswith("does not")]
        unscaled, left_out = kept.get("law-unscaled", ""), kept.get("law-left-out", "")
        # Whom a scale changes no bit computes the same after a step that is none, unless it has left a trace.
        traced = unscaled.endswith("bit for bit") and left_out.startswith("holds to rounding")
        if traced or ("law-left-out" in broken and unscaled.startswith("holds")):
            broken = [law for law in broken if law != "law-left-out"]
            causes = (
                *causes,
                Finding("step-count", "a step that a loss scale leaves out is counted, or leaves a trace"),
            )
        if broken and not answer.departures:
            # Every weight follows a rule of its own, and yet depends on others.
            detail = f"weights depend on more than their own gradients: {', '.join(broken)}"
            causes = (*causes, Finding("unexplained", detail, {"laws": broken}))
    return replace(answer, causes=causes, laws=kept, not_finite=not_finite)


def _with_own(
    answer: Answer, observations: Mapping[str, Observation], epsilon: str | None, claim: Mapping[str, object]
) -> Answer:
    """With what shows where tensors or steps have hyperparameters of their own."""
    from parity.identify.fit import NARROWED, fit

    told = {one.detail for one in answer.causes}
    way = next((way for words, way in NARROWED.items() if words in told), Narrowing.NEAREST)

    def read(some: Mapping[str, Observation]) -> Answer:
        narrowed = {name: replace(one, narrowing=way) for name, one in some.items()}
        return _departing(_with_storage(fit(narrowed, epsilon, {}), some), claim)

    found, ignored = own_hyperparameters(observations, answer, read)
    residual = {**answer.residual, IGNORED: ignored} if ignored else answer.residual
    return replace(answer, causes=(*answer.causes, *found), residual=residual)


def _with_bits_of_own(
    answer: Answer,
    taken: InForce | None,
    observations: Mapping[str, Observation],
    epsilon: str | None,
    library: ArraySquareRoot | None,
) -> Answer:
    """With the bits of those probes beside the arithmetic that was found, where the target takes what they ask."""
    from parity.identify.exact import Open, differing
    from parity.identify.fit import fitted

    twin = answer.twin
    if twin is None:
        return answer
    another = taken is not None and taken.others(observations, "lr", "beta1", "beta2", "eps")
    departs = {str(one.evidence["probe"]) for one in answer.causes if "probe" in one.evidence}
    for name in (GROUPS, BETAS):
        observed = observations.get(name)
        if observed is None or observed.m is None or observed.v is None:
            continue
        if name in departs or name in answer.residual.get(IGNORED, {}):
            continue
        if another:
            found, own = fitted({name: observed}, epsilon, {})
            if own is None and (found.verdict == "unexplained" or found.departures):
                # What is in force there cannot be said.
                continue
            observed = observed if own is None else own.asked_of({name: observed})[name]
        counts = differing(observed, twin, library, PAPER if taken is None else taken.correction)
        elements = observed.w[1:].size * len(counts)
        residual = {**answer.residual, "elements": answer.residual["elements"] + elements}
        if off := sum(counts.values()):
            reason = twin.leaves_open(observed.probe.hyper, observed.probe.layout) or "it rounds otherwise there"
            left = {**residual.get(LEFT_OPEN, {}), name: asdict(Open(off, elements, reason))}
            residual |= {LEFT_OPEN: left, "differing": residual["differing"] + off}
            answer = replace(answer, verdict="explained")
        answer = replace(answer, residual=residual)
    return answer


def _of_sound(
    observations: Mapping[str, Observation],
    claim: str | None,
    library: ArraySquareRoot | None,
    *,
    exact: bool = True,
) -> tuple[_Explained, dict[str, str]]:
    """What explains the observations; where nothing does, those that it needs to leave out as they are no numbers.

    exact: whether bits are asked for.
    """
    found = _explained(observations, claim, library, exact)
    broken = {name: told for name, one in observations.items() if (told := not_finite(one))}
    if found.answer.verdict != "unexplained" or not broken:
        return found, {}
    if MAIN in broken:
        return _Explained(Answer("unexplained", {}, None, "", (), {})), broken
    kept = {name: one for name, one in observations.items() if name not in broken}
    # NaN may be what its formula comes to: only what does not fit is left out.
    for name in ("", *broken):
        tried = {**kept, name: observations[name]} if name else kept
        other = _explained(tried, claim, library, exact) if tried else found
        if other.answer.verdict != "unexplained":
            found, kept = other, tried
        elif not name:
            return found, {}
    return found, {name: told for name, told in broken.items() if name not in kept}


class _Explained(NamedTuple):
    """What explains observations. taken: what is in force where bits were found, and it is not what was asked for."""

    answer: Answer
    taken: InForce | None = None


def _explained(
    observations: Mapping[str, Observation], claim: str | None, library: ArraySquareRoot | None, exact: bool
) -> _Explained:
    from parity.identify.exact import search
    from parity.identify.fit import NARROWED, fitted

    found, taken = fitted(observations, claim)
    if any(one.detail in NARROWED for one in found.causes):
        return _Explained(found)
    other = None if _is_adam(found) else _other(observations)
    if other is not None and other.optimizer["name"] != NOTHING:
        return _Explained(other)
    if found.verdict == "explained" and any(one.family in FOREIGN for one in found.departures):
        exact = False
    match = None
    if exact and taken is not None and {one.family for one in found.departures} <= FAMILIES:
        match = search(taken.asked_of(observations), library, taken.correction)
    if exact and match is None and not (taken is not None and certainly_another(found, taken, observations)):
        match, taken = search(observations, library), None
    if match is None:
        return _Explained(found if _is_adam(found) else other or _stranger(found, observations))
    left_open = {name: asdict(one) for name, one in match.left_open.items()}
    differing = sum(one.differing for one in match.left_open.values())
    # What the fit could not explain is nothing that is left: every bit was found.
    residual = {"elements": match.elements, "differing": differing}
    identified = replace(
        found,
        causes=() if found.verdict == "unexplained" else found.causes,
        # Whoever equals a known Adam bit for bit is it, whatever could be read out of the numbers.
        convention=found.convention or _convention_of(match.twin, observations),
        verdict="explained" if left_open else "identified",
        arithmetic=match.arithmetic,
        residual={**residual, LEFT_OPEN: left_open} if left_open else residual,
        twin=match.twin,
    )
    return _Explained(identified, taken)


def _convention_of(twin: Twin, observations: Mapping[str, Observation]) -> dict[str, Any]:
    """The choices of a twin, by the names under which they are read out elsewhere."""
    asked = next(iter(observations.values())).probe.hyper
    return {
        "epsilon": str(twin.convention.epsilon),
        "bias_correction": "both" if twin.convention.bias_correction else "none",
        "step_count": str(twin.convention.step_count),
        "weight_decay": [],
        "amsgrad": any(one.probe.hyper.amsgrad for one in observations.values()),
        "hyperparameters": {"lr": asked.lr_at(1), "beta1": asked.beta1, "beta2": asked.beta2, "eps": asked.eps},
    }


_KINDRED = ("as in NAdam", "as in Adamax", "as AdaBelief does")
"""What a rule that begins like Adam is that goes another way."""


def _is_adam(found: Answer) -> bool:
    """Whether nothing is left, and no other optimizer has that rule."""
    return found.verdict != "unexplained" and not any(
        name in one.detail for one in found.causes for name in _KINDRED if one.family == "unexplained"
    )


def _other(observations: Mapping[str, Observation]) -> Answer | None:
    """What is no Adam by its own name; None where it has none that is known."""
    relative = other_optimizer(observations)
    if relative is None:
        return orthogonalised(observations)
    return answer_of(relative, next(iter(observations.values())).probe.format)


def _stranger(found: Answer, observations: Mapping[str, Observation]) -> Answer:
    """What was found of what has no name, and the rule that is nearest."""
    if found.verdict == "unexplained" and found.convention:
        return found
    return replace(found, convention={}, residual={**found.residual, "nearest": nearest_rule(observations)})
