"""What there is to choose from, as rows of text; imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Row = dict[str, str]


def list_cases(paths: Sequence[Path]) -> list[Row]:
    """Cases by name with their size and what they ask."""
    from parity.case.catalogue import select_cases

    return [
        {
            "name": case.name,
            "steps": str(case.steps),
            "tensors": str(len(case.parameters)),
            "elements": str(case.layout().size),
            "dtypes": " ".join(case.dtypes),
            "summary": case.summary,
        }
        for case in select_cases(paths)
    ]


def list_implementations(paths: Sequence[Path]) -> list[Row]:
    """Implementations that are shipped, then those of installed plug-ins."""
    from parity.implementations.registry import USER_PREFIX, installed_plugins, shipped_implementations

    shipped = [
        {
            "name": one.name,
            "framework": one.framework,
            "epsilon": one.convention or "",
            "needs": " ".join(one.needs),
            "dtypes": " ".join(one.dtypes),
            "default eps": f"{one.defaults.eps:g}",
        }
        for one in shipped_implementations().values()
    ]
    plugins = [
        {
            "name": USER_PREFIX + name,
            "framework": entry.value,
            "epsilon": "",
            "needs": "",
            "dtypes": "",
            "default eps": "",
        }
        for name, entry in installed_plugins().items()
    ]
    return shipped + plugins


METRICS: tuple[tuple[str, str], ...] = (
    ("elements", "elements of the parameter"),
    ("differing", "elements whose values differ; both zeros are equal, NaN equals NaN and no number"),
    ("max_abs", "greatest |actual - expected|"),
    ("max_rel", "greatest |actual - expected| / |expected|; inf where expected is 0 and actual is not"),
    ("max_ulp", "greatest distance in units in the last place of the stored dtype, an exact integer; "
                "2^64 - 1 where NaN or inf stands against another value"),
    ("p99_ulp", "distance that 99 % of the elements do not exceed, an exact integer"),
    ("rms_abs", "root of the mean of (actual - expected)^2"),
    ("max_steps", "max_abs of w in units of lr: does it matter?"),
    ("worst_index", "flat index of the element with the greatest distance in ULP"),
    ("nonfinite", "elements that are NaN or inf on at least one side"),
)  # fmt: skip

CONVENTIONS: tuple[tuple[str, str, str], ...] = (
    ("outside", "w -= lr * m_hat / (sqrt(v_hat) + eps)", "Kingma & Ba 2015, Algorithm 1; torch, optax eps"),
    (
        "hat",
        "w -= lr * sqrt(1-b2^t)/(1-b1^t) * m / (sqrt(v) + eps)",
        "Kingma & Ba 2015, before section 2.1; Keras, TF",
    ),
    ("inside", "w -= lr * m_hat / sqrt(v_hat + eps)", "optax eps_root, some ports"),
)


def list_metrics(paths: Sequence[Path]) -> list[Row]:
    """Columns of a divergence table that measure."""
    return [{"name": name, "meaning": meaning} for name, meaning in METRICS]


def list_conventions(paths: Sequence[Path]) -> list[Row]:
    """Where epsilon may stand."""
    return [{"name": name, "update": update, "found in": source} for name, update, source in CONVENTIONS]


LISTINGS: dict[str, Callable[[Sequence[Path]], list[Row]]] = {
    "cases": list_cases,
    "implementations": list_implementations,
    "metrics": list_metrics,
    "conventions": list_conventions,
}
