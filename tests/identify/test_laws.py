"""What needs no reference: laws of element-wise optimizers, gradients that are no numbers, tensors left out."""

from __future__ import annotations

import re

import pytest

from parity.engine.candidates import describe_plugin
from parity.identify.identify import identify
from parity.identify.probes import probes
from parity.numerics.formats import FORMATS

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(tmp_path, write_adam, monkeypatch):
    """What is said of a correct plug-in with lines planted, in float32 if no other dtype is named."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    first = "if hyper.weight_decay or hyper.amsgrad: raise Unsupported('plain Adam only')\n"

    def identified(dtype="float32", begin="", **lines):
        target = describe_plugin(str(write_adam(**{"first": first + begin, **lines})), tmp_path / "logs", 60)
        return identify(target, [dtype])[dtype]

    return identified


BY_NORM = """\
norms = {{n: f2(np.linalg.norm(g.astype('f8'))) for n, g in gradient.items() if g is not None}}
whole = sum(one**2 for one in norms.values()) ** 0.5
by = {{n: np.float32(min(1, 1 / max({norm}, 1e-30))) for n in norms}}
gradient = {{n: None if g is None else g * by[n] for n, g in gradient.items()}}"""


def test_the_laws_of_an_adam_hold_to_the_last_bit(found):
    answer = found()
    assert list(answer.laws) == ["law-scaled", "law-turned", "law-joined", "law-moved", "law-strided"]
    assert set(answer.laws.values()) == {"holds, 768 elements bit for bit"}
    assert list(answer.residual["left_out"]) == [
        "decoupled",
        "l2",
        "amsgrad",
        "none-decoupled",
        "clip-l2",
        "law-continued",
        "law-unscaled",
        "law-left-out",
        "betas",
    ]
    assert "takes no start" in answer.residual["left_out"]["law-continued"]
    assert answer.not_finite == dict.fromkeys(("nan", "inf"), "only that weight becomes NaN or inf")
    assert answer.departures == ()


@pytest.mark.parametrize(("norm", "broken"), [("norms[n]", ["law-joined"]), ("whole", ["law-moved"])])
def test_who_clips_by_a_norm_breaks_the_law_of_what_it_takes_the_norm_of(found, norm, broken):
    """One tensor's norm is another's where two are one; that of all is another where there is one more."""
    answer = found(before=BY_NORM.format(norm=norm), swap=[("import numpy as np", "import numpy as np\nf2 = float")])
    wrong = [law for law, told in answer.laws.items() if told.startswith("does not hold: ")]
    assert wrong == ["law-scaled", *broken]
    assert answer.departures or answer.verdict == "unexplained"


def test_what_takes_a_neighbour_for_its_own_is_no_adam_that_passes(found):
    """Only where a tensor has a neighbour of one size: no other question has such tensors."""
    answer = found(after="if len(w) == 3 and 'before' in w: w['first'] = w['first'] + f(1e-3)\n"
                         "state = State(w=w, m=m, v=v)")  # fmt: skip
    assert answer.laws["law-moved"].startswith("does not hold: w is up to ")
    (departure,) = answer.departures
    assert departure.family == "unexplained"
    assert departure.detail == "weights depend on more than their own gradients: law-moved"
    assert not answer.sound


def test_who_takes_the_memory_of_a_gradient_for_its_numbers_is_seen(found):
    raw = "np.lib.stride_tricks.as_strided(g, g.shape, np.empty(g.shape, g.dtype).strides)"
    answer = found(before=f"gradient = {{n: None if g is None else {raw} for n, g in gradient.items()}}")
    assert [law for law, told in answer.laws.items() if told.startswith("does not hold")] == ["law-strided"]
    assert not answer.sound


BEGUN = "if start is not None: m, v = dict(start.m), dict(start.v)"
TAKES_START = ("hyper):", "hyper, start=None):")
COUNTED = ("gradients, start=1)", "gradients, start=1 + (max(start.steps.values()) if start else 0))")


def test_what_begins_with_its_own_state_goes_on_as_if_it_had_never_stopped(found):
    answer = found(begin=BEGUN, swap=[TAKES_START, COUNTED])
    assert answer.laws["law-continued"] == "holds, 384 elements bit for bit"
    assert answer.departures == ()


def test_a_count_that_a_state_does_not_bring_back_is_seen(found):
    answer = found(begin=BEGUN, swap=[TAKES_START])
    assert answer.laws["law-continued"].startswith("does not hold: w is up to ")
    (departure,) = answer.departures
    assert departure.detail == "weights depend on more than their own gradients: law-continued"
    assert not answer.sound


def test_what_hides_its_state_is_not_asked_to_go_on_with_it(found):
    answer = found(after="state = State(w=w)", begin=BEGUN, swap=[TAKES_START, COUNTED])
    assert answer.residual["left_out"]["law-continued"] == "hides m or v: nobody can hand its state over"


BROKEN = "any(g is not None and not np.isfinite(g).all() for g in gradient.values())"


TAKES_STAGES = ("hyper):", "hyper, stages=None):")
SCALED = "scale = stages is not None and stages.loss_scale.initial\n"
OMITS = f"if scale and {BROKEN}:\n    left += 1\n    yield State(w=w, m=m, v=v)\n    continue\n"


def test_a_step_that_a_loss_scale_leaves_out_leaves_no_trace(found):
    answer = found(begin=f"{SCALED}left = 0", before=f"{OMITS}t -= left", swap=[TAKES_STAGES])
    assert answer.laws["law-unscaled"] == "holds, 768 elements bit for bit"
    assert answer.laws["law-left-out"] == "holds, 960 elements bit for bit"
    assert answer.departures == ()


def test_a_step_that_is_left_out_and_counted_is_seen(found):
    answer = found(begin=f"{SCALED}left = 0", before=OMITS, swap=[TAKES_STAGES])
    assert answer.laws["law-unscaled"] == "holds, 768 elements bit for bit"
    assert answer.laws["law-left-out"].startswith("does not hold: w is up to ")
    (departure,) = answer.departures
    assert departure.family == "step-count"
    assert departure.detail == "a step that a loss scale leaves out is counted, or leaves a trace"
    assert answer.verdict == "identified"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_is_where_the_count_is_lost_in_rounding_too(found, dtype):
    """Another t moves weights of few bits by a few spacings at most: bits tell it, as a scale alone changes none."""
    counted = found(begin=f"{SCALED}left = 0", before=OMITS, swap=[TAKES_STAGES], dtype=dtype)
    assert counted.laws["law-unscaled"] == "holds, 768 elements bit for bit"
    assert "bit for bit" not in counted.laws["law-left-out"]
    assert [one.family for one in counted.departures] == ["step-count"]
    right = found(begin=f"{SCALED}left = 0", before=f"{OMITS}t -= left", swap=[TAKES_STAGES], dtype=dtype)
    assert right.departures == ()


def test_a_scale_that_stays_in_the_gradients_is_seen(found):
    scaled = "if scale: gradient = {n: None if g is None else g * g.dtype.type(scale) for n, g in gradient.items()}"
    answer = found(begin=f"{SCALED}left = 0", before=f"{OMITS}t -= left\n{scaled}", swap=[TAKES_STAGES])
    assert answer.laws["law-unscaled"].startswith("does not hold: m is up to ")
    (departure,) = answer.departures
    assert departure.family == "unexplained"
    assert departure.detail.startswith("weights depend on more than their own gradients: law-unscaled")
    assert not answer.sound


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (f"if {BROKEN}:\n    yield State(w=w, m=m, v=v)\n    continue", "no weight moves at that step"),
        (
            "gradient = {n: None if g is None or not np.isfinite(g).all() else g for n, g in gradient.items()}",
            "its tensor stands at that step",
        ),
        (
            "gradient = {n: g if g is None else np.where(np.isfinite(g), g, g.dtype.type(0)) "
            "for n, g in gradient.items()}",
            "it is left out or taken as a number: no weight becomes NaN",
        ),
        (
            "gradient = {n: g if g is None or np.isfinite(g).all() else g * np.nan for n, g in gradient.items()}",
            "its whole tensor becomes NaN or inf",
        ),
    ],
    ids=["the step", "the tensor", "zeroed", "all of the tensor"],
)
def test_what_becomes_of_a_gradient_that_is_no_number(found, before, told):
    answer = found(before=before)
    assert answer.not_finite["nan"] == told
    assert [one.family for one in answer.departures] == ["non-finite", "non-finite"]
    assert answer.departures[0].detail == f"where a gradient is nan, {told}"
    assert (answer.convention["epsilon"], answer.verdict) == ("outside", "identified")


@pytest.mark.parametrize(
    "dtype",
    ["float32", "bfloat16", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("float64", "float16"))],
)
@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("g.size >= 65536", "tensors of 70,001 and more elements (not those of up to 1,033)"),
        ("g.ndim >= 3", "tensors of three and more axes"),
        ("g.ndim == 2", "tensors of two axes"),
        ("g.ndim == 0", "tensors without axes"),
        ("g.size < 10", "tensors of up to 7 elements (not those of 12 and more)"),
        ("len(w) > 1 and name == list(w)[-1]", "the last tensor"),
        ("len(w) > 1 and name == list(w)[0]", "the first tensor"),
        ("name == 'key'", "'key'"),
        ("0 < g.size < 3 and g.ndim == 1", None),
    ],
    ids=["large", "many axes", "matrices", "scalars", "small", "last", "first", "by name", "small vectors"],
)
def test_tensors_that_are_never_updated_are_named(found, which, told, dtype):
    answer = found(dtype, swap=[("if g is None:", f"if g is None or {which}:")])
    (departure,) = answer.departures
    assert departure.family == "partial-update"
    start = "never updated, neither weights nor moments: "
    assert departure.detail.startswith(start)
    assert told is None or departure.detail == start + told
    assert (answer.verdict, answer.convention["epsilon"]) == ("explained", "outside")
    never = {"first": ["nan"], "last": ["inf"]}.get((told or "").removeprefix("the ").removesuffix(" tensor"), [])
    assert [one for one, what in answer.not_finite.items() if what == "cannot be seen: its tensor never moves"] == never


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tensors_that_only_decay_are_named(found, dtype):
    decays = "w[name] = w[name] * g.dtype.type(1 - hyper.lr_at(t) * hyper.weight_decay)"
    skips = f"if g is None:\n                continue\n            if hyper.decoupled:\n                {decays}\n"
    first = "if hyper.weight_decay and not hyper.decoupled or hyper.amsgrad: raise Unsupported('no L2')"
    answer = found(dtype, first=first, swap=[("if g is None:", f"{skips}            if g.ndim == 2:")])
    (departure,) = answer.departures
    assert departure.family == "partial-update"
    assert departure.detail == "never updated, but for the decay of weights: tensors of two axes"
    assert (answer.verdict, answer.convention["epsilon"]) == ("explained", "outside")


def test_a_norm_whose_bits_depend_on_threads_is_named_and_the_rest_is_answered(found):
    few = 'os.environ.get("OMP_NUM_THREADS") in ("1", "2")'
    answer = found(before=f"if {few}: gradient = {{n: g if g is None else g * g.dtype.type(1 + 2**-23) "
                          "for n, g in gradient.items()}")  # fmt: skip
    assert (answer.convention["epsilon"], answer.verdict, answer.arithmetic) == ("outside", "explained", None)
    (departure,) = answer.departures
    assert departure.family == "nondeterminism"
    assert re.search(r"with \d+ and \d+ threads is answered differently: m differs in [\d,]+ of", departure.detail)


def test_who_decays_without_a_gradient_is_seen(found):
    """wd = 0.1 and no gradient: the right Adam stands, this one shrinks by lr * wd."""
    shrink = "w[name] = w[name] * f(1 - hyper.lr_at(t) * hyper.weight_decay)"
    answer = found(
        first="if hyper.amsgrad or (hyper.weight_decay and not hyper.decoupled): raise Unsupported('decoupled only')",
        swap=[
            ("            if g is None:\n", f"            {shrink}\n            if g is None:\n"),
            ("f = g.dtype.type", "pass"),
            ("for name, g in gradient.items():", "f = next(iter(w.values())).dtype.type\n        "
             "for name, g in gradient.items():"),
        ],
    )  # fmt: skip
    assert "none-decoupled" in answer.asked
    (departure,) = answer.departures
    probe = next(one for one in probes(FORMATS["float32"]) if one.name == "none-decoupled")
    given = {one.name: int((probe.weights[place] != 0).sum()) for one, place in probe.layout.slices()}
    # What stood at 0 may have moved by its first gradient.
    least = given["query"] + 2 * given["kernel"] + given["bias"]
    assert departure.family == "none-gradient"
    assert least <= departure.evidence["weights_moved"] <= least + 35 + 269 + 35
