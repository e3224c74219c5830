"""The machine code of a step against NumPy, operation by operation: every form, format, rounding and door."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_step

from parity.adam import step as step_module
from parity.adam.arithmetic import Arithmetic, Exceptional, Rounding, Setting, SquareRoot, Subnormals, plain
from parity.adam.convention import Convention, Epsilon, Maximum
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, Largest, SecondMoment, Update
from parity.adam.step import free_steps, initial_state, lock_step, step, step_in_place
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.state import Rows, State
from parity.numerics import threads
from parity.numerics.formats import FORMATS, from_bits, to_bits

COMPILED, INTERPRETED = 0, 1 << 60


@pytest.fixture(scope="module", params=[COMPILED, INTERPRETED], ids=["compiled", "interpreted"], autouse=True)
def engine(request):
    """Both ways in which a step runs, whatever its size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "COMPILED", request.param)
        yield


STEPS = 3
LR = (0.1, 1e-3, 3.0)
L2 = Hyper(lr=LR, beta2=0.98, weight_decay=0.1, amsgrad=True)
DECOUPLED = Hyper(lr=LR, beta1=0.3, eps=0.0, weight_decay=0.1, decoupled=True)
PLAIN = Hyper(lr=LR, eps=1e-3)
MANNERS = [
    (name, rounding, subnormals)
    for name in FORMATS
    for rounding in (Rounding if FORMATS[name].dtype.itemsize < 4 else [Rounding.EACH_OPERATION])
    for subnormals in Subnormals
]

by_interpreter = pytest.mark.parametrize("engine", [INTERPRETED], ids=["interpreted"], indirect=True)
by_compiler = pytest.mark.parametrize("engine", [COMPILED], ids=["compiled"], indirect=True)
in_every_manner = pytest.mark.parametrize(("name", "rounding", "subnormals"), MANNERS)
# Every form in every manner is a kernel of its own, and compiling all of them takes minutes.
EXHAUSTIVE = pytest.mark.exhaustive
USUAL = (Rounding.EACH_OPERATION, Subnormals.KEPT)
in_some_manners = pytest.mark.parametrize(
    ("name", "rounding", "subnormals"),
    [pytest.param(*one, marks=[] if one[1:] == USUAL else EXHAUSTIVE) for one in MANNERS],
)


def asked(manner, kind):
    """Whether `make test` compiles every form: moments and update so in all formats, each decay in two."""
    return (
        manner[1:] == USUAL and manner[0] in {"l2": ("float32", "bfloat16"), "decoupled": ("float64", "float16")}[kind]
    )


def forms(place):
    """One of each stage; all `PLACES` together have all forms."""
    update = list(Update)[place % len(Update)]
    inside = "decoupled:" in update
    decays = [one for one in DecayWeights if one is not DecayWeights.IN_UPDATE]
    return Arithmetic(
        factors=list(Factors)[place % len(Factors)],
        first_moment=list(FirstMoment)[place % len(FirstMoment)],
        second_moment=list(SecondMoment)[place % len(SecondMoment)],
        update=update,
        decay_gradient=list(DecayGradient)[place % len(DecayGradient)],
        decay_weights=DecayWeights.IN_UPDATE if inside else decays[PLAIN_UPDATES.index(update) % len(decays)],
        maximum=list(Largest)[place % len(Largest)],
    )


PLACES = range(max(len(Update), len(SecondMoment), len(FirstMoment), len(Factors)))
PLAIN_UPDATES = [update for update in Update if "decoupled:" not in update]


def test_all_forms_have_their_turn():
    every = [forms(place) for place in PLACES]
    for name, kind in (("first_moment", FirstMoment), ("second_moment", SecondMoment), ("update", Update),
                       ("decay_gradient", DecayGradient), ("decay_weights", DecayWeights), ("maximum", Largest),
                       ("factors", Factors)):  # fmt: skip
        assert {getattr(one, name) for one in every} == set(kind)


def special(format):
    """Zeros, ends of the subnormal and normal numbers, neighbours of 1, halves of their spacing, inf and NaN."""
    one = to_bits(np.array(1, format.dtype)).item()
    half = one - (format.precision << (format.precision - 1))
    smallest = 1 << (format.precision - 1)
    words = [0, 1, 2, smallest - 1, smallest, smallest + 1, half - 1, half, half + 1, one - 1, one, one + 1, one + 2]
    words += [one + (1 << (format.precision - 2)), format.infinity_bits - 1, format.infinity_bits, format.sign_bit - 1]
    return [sign | word for word in words for sign in (0, format.sign_bit)]


def numbers(format, shape, seed):
    """A third any bits, a third special ones, a third numbers of usual sizes."""
    draw = np.random.default_rng(seed)
    size = int(np.prod(shape))
    words = draw.integers(0, 2 * format.sign_bit - 1, size, np.uint64, endpoint=True).astype(format.unsigned)
    words[1::3] = draw.choice(np.array(special(format), format.unsigned), words[1::3].shape)
    with np.errstate(all="ignore"):
        usual = draw.standard_normal(size) * 10.0 ** draw.integers(-6, 3, size)
        words[2::3] = to_bits(usual.astype(format.dtype))[2::3]
    return from_bits(words, format).reshape(shape)


def equal(actual, expected):
    """Bit by bit; NaN is NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    both = (actual != actual) & (expected != expected)
    bits = np.where(both, 0, to_bits(actual)), np.where(both, 0, to_bits(expected))
    np.testing.assert_array_equal(*bits)


def check(before, gradients, hyper, convention, arithmetic, library=None, tensors=2):
    """All doors on rows (steps, size): each row from the one of `before`, and freely from the first."""
    steps, counts = len(gradients), [1, 2, 7][: len(gradients)]
    setting, lr = Setting(gradients.shape[1:], tensors), [hyper.lr_at(t + 1) for t in range(steps)]
    names = [name for name in Rows._fields if getattr(before, name) is not None]

    def slow(state, row):
        return slow_step(state, gradients[row], hyper, convention, arithmetic, lr[row], counts[row], library, setting)

    kept = [array.copy() for array in (*before[: len(names)], gradients)]
    locked = [slow({name: getattr(before, name)[row] for name in names}, row) for row in range(steps)]
    made = lock_step(before, gradients, hyper, convention, arithmetic, lr, counts, library, setting)
    for name in names:
        for row in range(steps):
            equal(getattr(made, name)[row], locked[row][name])
    start = {name: getattr(before, name)[0] for name in names}
    free = [slow(start, 0)]
    for row in range(1, steps):
        free.append(slow(free[-1], row))
    made = free_steps(Rows(**start), gradients, hyper, convention, arithmetic, lr, counts, library, setting)
    for name in names:
        for row in range(steps):
            equal(getattr(made, name)[row], free[row][name])
    whole = {f"other{number}": gradients[0] for number in range(tensors - 1)}
    state = State(*({"p": start[name], **whole} if name in start else None for name in Rows._fields))
    gradient = {"p": gradients[0], **dict.fromkeys(whole)}
    once = step(state, gradient, hyper, convention, arithmetic, 1, None, library)
    for name in names:
        equal(getattr(once, name)["p"], free[0][name])
    for array, copy in zip((*before[: len(names)], gradients), kept, strict=True):
        assert array.tobytes() == copy.tobytes()


def rows(format, shape, hyper, seed=0):
    arrays = [numbers(format, shape, seed + one) for one in range(5)]
    return Rows(*arrays[:3], arrays[3] if hyper.amsgrad else None), arrays[4]


@by_interpreter
@in_every_manner
@pytest.mark.parametrize("hyper", [L2, DECOUPLED], ids=["l2", "decoupled"])
@pytest.mark.parametrize("place", PLACES)
def test_every_form_in_every_manner(name, rounding, subnormals, hyper, place):
    check_form(name, rounding, subnormals, hyper, place)


@by_compiler
@pytest.mark.parametrize(
    ("name", "rounding", "subnormals", "hyper"),
    [
        pytest.param(
            *one, hyper, id="-".join([*one[:2], str(one[2]), kind]), marks=[] if asked(one, kind) else EXHAUSTIVE
        )
        for one in MANNERS
        for kind, hyper in (("l2", L2), ("decoupled", DECOUPLED))
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_every_form_on_its_own(name, rounding, subnormals, hyper, place):
    check_form(name, rounding, subnormals, hyper, place)


def library_for(arithmetic):
    """Where a scalar is a library's root, no processor's."""
    return coarse if arithmetic.asks_library else None


def check_form(name, rounding, subnormals, hyper, place):
    arithmetic = replace(forms(place), rounding=rounding, subnormals=subnormals)
    given = rows(FORMATS[name], (STEPS, 1061), hyper)
    check(*given, hyper, Convention(arithmetic.update.epsilon), arithmetic, library_for(arithmetic))


@by_interpreter
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("place", PLACES)
def test_every_form_without_decay(name, place):
    check_without_decay(name, place)


@by_compiler
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in ("float32", "float16") else EXHAUSTIVE) for one in FORMATS]
)
@pytest.mark.parametrize("place", PLACES)
def test_every_form_without_decay_on_its_own(name, place):
    check_without_decay(name, place)


def check_without_decay(name, place):
    arithmetic = forms(place)
    given = rows(FORMATS[name], (STEPS, 1061), PLAIN)
    check(*given, PLAIN, Convention(arithmetic.update.epsilon), arithmetic, library_for(arithmetic))


ODD = replace(
    forms(0),
    lanes=8,
    tail=Exceptional(second_moment=SecondMoment.AVERAGE_FMA_OLD_LEFT, decay_gradient=DecayGradient.FMA),
    only=Exceptional(first_moment=FirstMoment.LERP),
    alone=Exceptional(first_moment=FirstMoment.DIFFERENCE_FMA, update=Update.OUTSIDE_TORCH),
)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 1000])
@pytest.mark.parametrize("tensors", [1, 2])
def test_sizes_and_tails(name, size, tensors):
    check(*rows(FORMATS[name], (STEPS, size), L2), L2, Convention(), ODD, tensors=tensors)


@pytest.mark.parametrize("name", FORMATS)
def test_no_steps(name):
    before, gradients = rows(FORMATS[name], (0, 5), PLAIN)
    made = lock_step(before, gradients, PLAIN, Convention(), ODD, [], [])
    assert made.w.shape == (0, 5)
    start = Rows(*(np.zeros(5, gradients.dtype) for _ in range(3)))
    assert free_steps(start, gradients, PLAIN, Convention(), ODD, [], []).w.shape == (0, 5)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(4, 5), (7,), (), (0, 3), (2, 0)])
def test_lazy_rows_stay_where_their_gradient_is_zero_throughout(name, shape):
    before, gradients = rows(FORMATS[name], (STEPS, int(np.prod(shape))), PLAIN)
    rest = np.zeros((STEPS, *shape), bool)
    for step_, row in ((0, 1), (0, 3), (1, 0), (2, 1)):
        if shape and row < shape[0]:
            rest[step_, row] = True
    rest = rest.reshape(gradients.shape)
    gradients[~rest & (gradients == 0)] = 1
    gradients[rest] = 0
    arithmetic, setting = replace(forms(0), update=Update.HAT), Setting(shape, 2)
    told = PLAIN, Convention(Epsilon.HAT), arithmetic, LR, [1, 2, 7], None, setting
    lazy = told[0], replace(told[1], lazy_rows=True), *told[2:]
    dense, made = lock_step(before, gradients, *told), lock_step(before, gradients, *lazy)
    for one, moved, old in zip(made[:3], dense[:3], before[:3], strict=True):
        equal(one, np.where(rest, old, moved))
    assert not rest.any() or not all(np.array_equal(to_bits(a), to_bits(b)) for a, b in zip(made, dense, strict=False))
    start = Rows(*(one[0] for one in before[:3]))
    free, now = free_steps(start, gradients, *lazy), start
    for place in range(STEPS):
        alone = told[0], lazy[1], arithmetic, LR[place : place + 1], [told[4][place]], None, setting
        now = Rows(*(one[0] for one in free_steps(now, gradients[place : place + 1], *alone)[:3]))
        for one, whole in zip(now[:3], free[:3], strict=True):
            equal(one, whole[place])


def coarse(values):
    """A root as no processor makes it."""
    assert values.flags.c_contiguous
    return np.nextafter(np.sqrt(values), values.dtype.type(np.inf))


BY_UPDATE = pytest.mark.parametrize("update", [Update.OUTSIDE_TORCH, Update.OUTSIDE_QUOTIENTS_FMA, Update.INSIDE])


@by_interpreter
@in_every_manner
@pytest.mark.parametrize("hyper", [L2, DECOUPLED, PLAIN], ids=["l2", "decoupled", "plain"])
@BY_UPDATE
def test_roots_of_a_library(name, rounding, subnormals, hyper, update):
    check_roots(name, rounding, subnormals, hyper, update)


@pytest.mark.thorough
@by_compiler
@in_some_manners
@pytest.mark.parametrize("hyper", [L2, DECOUPLED, PLAIN], ids=["l2", "decoupled", "plain"])
@BY_UPDATE
def test_roots_of_a_library_in_code_of_its_own(name, rounding, subnormals, hyper, update):
    check_roots(name, rounding, subnormals, hyper, update)


def asking(square_root, update, **manner):
    """An arithmetic with that root and that update."""
    weights = DecayWeights.IN_UPDATE if "decoupled:" in update else DecayWeights.SUBTRACTED
    return replace(ODD, update=update, alone=Exceptional(), decay_weights=weights, square_root=square_root, **manner)


def check_roots(name, rounding, subnormals, hyper, update):
    arithmetic = asking(SquareRoot.LIBRARY, update, rounding=rounding, subnormals=subnormals)
    check(*rows(FORMATS[name], (STEPS, 101), hyper), hyper, Convention(update.epsilon), arithmetic, coarse)


@pytest.mark.thorough
@pytest.mark.parametrize("hyper", [DECOUPLED, L2], ids=["decoupled", "l2"])
@pytest.mark.parametrize(
    "update", [Update.HAT_XLA, Update.OUTSIDE_QUOTIENTS_FMA, Update.OUTSIDE_RECIPROCALS_FMA], ids=lambda one: one.name
)
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_reciprocal_roots_of_a_compiler_where_eps_is_0(name, update, hyper):
    arithmetic = asking(SquareRoot.REFINED, update, subnormals=Subnormals.FLUSHED)
    maximum = Maximum.AFTER_CORRECTION if "decoupled:" in update else Maximum.BEFORE_CORRECTION
    asked = []

    def coarse_reciprocal(values):
        asked.append(values.size)
        return np.nextafter(1 / np.sqrt(values), values.dtype.type(0))

    for eps in (0.0, 1e-3):
        own, convention = replace(hyper, eps=eps), Convention(update.epsilon, maximum=maximum)
        asked.clear()
        check(*rows(FORMATS[name], (STEPS, 101), own), own, convention, arithmetic, coarse_reciprocal)
        assert bool(asked) == (eps == 0)
    check(*rows(FORMATS[name], (STEPS, 101), hyper), hyper, convention, arithmetic)


@pytest.mark.parametrize("door", [lock_step, free_steps, step])
def test_a_library_that_is_asked_for_has_to_be_given(door):
    arithmetic = replace(plain(Epsilon.OUTSIDE), square_root=SquareRoot.LIBRARY)
    before, gradients = rows(FORMATS["float32"], (STEPS, 9), PLAIN)
    given = before, gradients, PLAIN, Convention(), arithmetic, LR, [1, 2, 3]
    if door is free_steps:
        given = Rows(*(one[0] for one in before[:3])), *given[1:]
    if door is step:
        given = initial_state({"p": gradients[0]}, PLAIN), {"p": gradients[0]}, PLAIN, Convention(), arithmetic, 1
    with pytest.raises(ParityError, match="square roots by a framework's library"):
        door(*given)


def test_a_library_is_asked_once_for_all_steps_unless_w_goes_back_into_v():
    asked = []

    def root(values):
        asked.append(values.shape)
        return np.sqrt(values)

    arithmetic = replace(plain(Epsilon.OUTSIDE), square_root=SquareRoot.LIBRARY)
    for hyper, expected in ((DECOUPLED, [(3, 9)]), (L2, [(1, 9)] * 3)):
        before, gradients = rows(FORMATS["float32"], (STEPS, 9), hyper)
        start = Rows(*(None if one is None else one[0] for one in before))
        asked.clear()
        free_steps(start, gradients, hyper, Convention(), arithmetic, LR, [1, 2, 3], root)
        assert asked == expected
        asked.clear()
        lock_step(before, gradients, hyper, Convention(), arithmetic, LR, [1, 2, 3], root)
        assert asked == [(3, 9)]


@pytest.mark.parametrize("name", FORMATS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(words=st.lists(st.tuples(*[st.integers(0, (1 << 64) - 1)] * 5), min_size=1, max_size=40),
       place=st.integers(0, 3))  # fmt: skip
def test_any_bits(name, words, place):
    format = FORMATS[name]
    bits = np.array([[one & (2 * format.sign_bit - 1) for one in each] for each in words], format.unsigned)
    w, m, v, vmax, g = from_bits(np.ascontiguousarray(bits.T), format)[:, None]
    check(Rows(w, m, v, vmax), g, L2, Convention(), forms(place))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("processors", [1, 2, 5])
def test_threads_and_blocks_keep_every_bit(name, processors, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(step_module, "LONG", 64)
    threads._threads.cache_clear()
    for size in (63, 64, 65, 640, 1283):
        check(*rows(FORMATS[name], (STEPS, size), L2), L2, Convention(), ODD)
        library = replace(ODD, square_root=SquareRoot.LIBRARY)
        check(*rows(FORMATS[name], (STEPS, size), DECOUPLED), DECOUPLED, Convention(), library, coarse)
    assert (threads._threads.cache_info().currsize == 1) == (processors > 1)
    threads._threads.cache_clear()


def test_short_rows_start_no_thread():
    before = set(threading.enumerate())
    check(*rows(FORMATS["float32"], (STEPS, 1000), PLAIN), PLAIN, Convention(), ODD)
    assert set(threading.enumerate()) <= before


def test_threads_share_a_long_row(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    threads._threads.cache_clear()
    meeting = threading.Barrier(2, timeout=30)
    owners = set()

    def kernel(factors, carries, start, stop):
        meeting.wait()
        owners.add(threading.get_ident())

    step_module._in_blocks(kernel, (), np.empty((1, 0), np.float32), False, slice(0, step_module.LONG))
    threads._threads.cache_clear()
    assert len(owners) == 2
    assert threading.get_ident() in owners


def test_an_error_in_a_thread_is_raised():
    def kernel(*arguments):
        if arguments[-2]:
            raise ValueError("block")

    columns = np.empty((1, 0), np.float32)
    with pytest.raises(ValueError, match="block"):
        step_module._in_blocks(kernel, (), columns, False, slice(0, step_module.LONG))


def test_every_column_once():
    seen = np.zeros(step_module.LONG + 7, int)

    def kernel(factors, carries, start, stop):
        seen[start:stop] += 1

    step_module._in_blocks(kernel, (), np.empty((1, 0), np.float32), False, slice(3, seen.size))
    assert seen.tolist() == [0] * 3 + [1] * (seen.size - 3)


def test_arrays_that_are_read_only_strided_or_mapped(tmp_path):
    """Gradients may be anything; the same code serves them."""
    before, gradients = rows(FORMATS["float32"], (STEPS, 34), PLAIN)
    given = PLAIN, Convention(), ODD, LR, [1, 2, 3]
    expected = lock_step(before, gradients, *given)
    mapped = np.memmap(tmp_path / "g", np.float32, "w+", shape=gradients.shape)
    mapped[:] = gradients
    fixed = gradients.copy()
    fixed.flags.writeable = False
    shifted = np.empty(gradients.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(gradients.shape)
    shifted[:] = gradients
    for other in (mapped, fixed, shifted, np.asfortranarray(gradients), np.repeat(gradients, 2, 1)[:, ::2]):
        moved = Rows(*(None if one is None else np.asfortranarray(one) for one in before))
        for actual, wanted in zip(lock_step(moved, other, *given)[:3], expected[:3], strict=True):
            equal(actual, wanted)


@pytest.mark.parametrize("kind", ["turned", "read-only", "shifted"])
def test_refuses_what_it_cannot_overwrite(kind):
    hyper = Hyper()
    state = initial_state({"p": np.zeros((4, 4), np.float32)}, hyper)
    turned = np.asfortranarray(np.zeros((4, 4), np.float32))
    fixed = np.zeros((4, 4), np.float32)
    fixed.flags.writeable = False
    shifted = np.zeros(65, np.uint8)[1:].view(np.float32).reshape(4, 4)
    state = state._replace(w={"p": {"turned": turned, "read-only": fixed, "shifted": shifted}[kind]})
    gradient = {"p": np.zeros((4, 4), np.float32)}
    with pytest.raises(ParityError, match="contiguous"):
        step_in_place(state, gradient, hyper, Convention(), plain(Epsilon.OUTSIDE, Rounding.AT_STORE), 1)


@pytest.mark.parametrize("name", FORMATS)
def test_other_hyperparameters_are_the_same_code(name):
    """Hyperparameters are data: nothing is compiled for them."""
    check(*rows(FORMATS[name], (STEPS, 20), PLAIN), PLAIN, Convention(), forms(0))
    known = step_module.step_code.cache_info().misses
    other = replace(PLAIN, lr=0.5, beta1=0.1, beta2=0.2, eps=0.7)
    check(*rows(FORMATS[name], (STEPS, 20), other), other, Convention(bias_correction=False), forms(0))
    assert step_module.step_code.cache_info().misses == known
