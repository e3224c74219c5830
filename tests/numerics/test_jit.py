"""Machine code that is kept: right where it comes from the disk, from a damaged file, or from nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.numerics.jit import as_kind_of, bits_of, compiled, compiled_text, fma, from_bits

PROGRAM = """
import sys
from parity.numerics.jit import compiled_text, kernel_folder
inner = compiled_text("def inner(a):\\n    return FACTOR * a\\n", "inner", FACTOR=float(sys.argv[1]))
outer = compiled_text("def outer(a):\\n    return inner(a) + 1.0\\n", "outer", inner=inner)
print(outer(2.0), sum(outer.stats.cache_hits.values()), len(list((kernel_folder() or sys.exit(9)).iterdir())))
"""


@compiled
def multiply_add(a, b, c):
    return fma(a, b, c)


@compiled
def to_bits_and_back(values, bits, back):
    for place in range(values.size):
        bits[place] = bits_of(values[place])
        back[place] = from_bits(bits_of(values[place]))


@compiled
def add_as_the_first(left, right, sums):
    for place in range(left.size):
        sums[place] = as_kind_of(left[place] + right[place], left[place]) > as_kind_of(-2, left[place])


def start(cache, factor="3", code=PROGRAM):
    environment = {**os.environ, "PARITY_KERNELS": "", "PARITY_CACHE": str(cache)}
    command = [sys.executable, "-c", code, factor]
    return subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1)


def told(process):
    """(result, functions that came from the disk, files that are kept) of a process that ran PROGRAM."""
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    result, hits, files = out.split()
    return float(result), int(hits), int(files)


@settings(deadline=None)
@given(st.floats(width=64), st.floats(width=64), st.floats(width=64))
def test_fma_rounds_once(a, b, c):
    found = multiply_add(a, b, c)
    if not all(map(np.isfinite, (a, b, c))):
        return
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        assert found == exact.numerator / exact.denominator
    except OverflowError:
        assert np.isinf(found)


def test_fma_of_float32_rounds_once():
    a, b, c = np.float32(1 + 2**-12), np.float32(1 + 2**-12), np.float32(-1 - 2**-11)
    assert multiply_add(a, b, c) == np.float32(2**-24)
    assert a * b + c == 0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_bits_are_those_in_memory(kind):
    values = np.array([1.5, -0.0, np.inf, 5e-324, 1e-45, np.nan, -np.nan], kind)
    bits, back = np.empty(values.size, f"u{values.itemsize}"), np.empty_like(values)
    to_bits_and_back(values, bits, back)
    assert bits.tobytes() == back.tobytes() == values.tobytes()


def test_what_is_no_float_is_refused_by_the_compiler():
    with pytest.raises(Exception, match="bits_of"):
        compiled_text("def f(a):\n    return bits_of(a)\n", "f", bits_of=bits_of)(1)


def test_another_process_takes_what_is_kept(tmp_path):
    assert told(start(tmp_path)) == (7.0, 0, 2)
    assert told(start(tmp_path)) == (7.0, 1, 2)


FORGOTTEN = """
import sys
import {runner}
from parity.numerics.jit import compiled_text
kept = set(sys.modules)
for name in "ab":
    assert compiled_text("def " + name + "(x): return x + 1", name)(1.0) == 2
    for module in set(sys.modules) - kept:
        del sys.modules[module]
"""


@pytest.mark.parametrize("runner", ["pytest", "unittest"])
def test_a_test_that_forgets_modules_compiles_all_the_same(tmp_path, runner):
    """As pytest's own `pytester` does after a session within a session."""
    environment = {**os.environ, "PARITY_KERNELS": str(tmp_path / "kernels")}
    code = FORGOTTEN.format(runner=runner)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)


KEPT = """
import sys
import numpy as np
from parity.numerics.jit import compiled_text
for name in sys.argv[1:]:
    add = compiled_text(f"def {name}(x): return x.copy() + 1", name)
    print(name, add(np.ones(3)).sum(), "numba.np.arraymath" in sys.modules)
"""


def test_who_takes_what_is_kept_needs_no_more_of_the_compiler_until_it_compiles(tmp_path):
    environment = {**os.environ, "PARITY_KERNELS": str(tmp_path / "kernels")}

    def told(*names):
        command = [sys.executable, "-c", KEPT, *names]
        return subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True, text=True).stdout

    assert told("a") == "a 6.0 True\n"
    assert told("a", "b") == "a 6.0 False\nb 6.0 True\n"


def test_what_is_not_there_yet_cannot_be_part_of_it_and_is_refused():
    with pytest.raises(NameError, match=r"^outer calls inner, which has to be defined before it$"):
        compiled_text("def outer(a):\n    return inner(a) + abs(a)\n", "outer")


def test_what_a_function_calls_is_part_of_it(tmp_path):
    """The text of `outer` is the same both times."""
    assert told(start(tmp_path, "3"))[0] == 7.0
    assert told(start(tmp_path, "4")) == (9.0, 0, 4)


CALLING = """
import sys
import numpy as np
from parity.numerics.jit import compiled_text
line = "        row[i] = row[i] / {0}.0 if row[i] > {0}.5 else np.sqrt(abs(row[i])) + {0}.25\\n"
call = "        if which[place] == {0}:\\n            inner(table[place])\\n"
for last in sys.argv[1:]:
    inner = "def inner(row):\\n    for i in range(row.size):\\n" + "".join(map(line.format, range(1, 30)))
    outer = "def outer(table, which):\\n    for place in range(2):\\n" + "".join(map(call.format, range(8)))
    called = compiled_text(f"{inner}        row[i] = {last}\\n", "inner", np=np)
    table = np.full((2, 8), 3.0)
    compiled_text(outer, "outer", inner=called)(table, np.array([2, 3]))
    print(table[0, 0])
"""


def test_functions_of_one_name_are_not_taken_for_each_other(tmp_path):
    """Two processes number their functions in different orders: what is called must not be found by number."""

    def results(*lasts):
        environment = {**os.environ, "PARITY_KERNELS": "", "PARITY_CACHE": str(tmp_path)}
        told = subprocess.run(
            [sys.executable, "-c", CALLING, *lasts], env=environment, check=True, capture_output=True, text=True
        )
        return [float(line) for line in told.stdout.split()]

    (plus,) = results("row[i] + 1.0")
    twice, again = results("(row[i] + 0.0) * 2.0", "row[i] + 1.0")
    assert again == plus
    assert twice == pytest.approx((plus - 1.0) * 2.0, rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    assert told(start(tmp_path)) == (7.0, 0, 2)
    for path in (tmp_path / "kernels").iterdir():
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(
            {
                "cut": whole[:middle],
                "empty": b"",
                "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "foreign": b"some other file\n",
            }[damage]
        )
    assert told(start(tmp_path)) == (7.0, 0, 2)
    assert told(start(tmp_path)) == (7.0, 1, 2)


def test_a_folder_in_which_others_may_write_is_not_used(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    process = start(tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert not list((tmp_path / "kernels").iterdir())


WITHOUT_FOLDER = PROGRAM.replace(
    "len(list((kernel_folder() or sys.exit(9)).iterdir()))", "int(kernel_folder() is None)"
)


def test_where_there_can_be_no_folder_it_only_takes_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert told(start(tmp_path / "file" / "cache", code=WITHOUT_FOLDER)) == (7.0, 0, 1)


NOTHING_FITS = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
"""


def test_a_full_disk_only_costs_time(tmp_path):
    assert told(start(tmp_path, code=NOTHING_FITS + PROGRAM)) == (7.0, 0, 0)


def test_several_processes_at_once(tmp_path):
    together = [start(tmp_path) for _ in range(4)]
    assert {told(process)[0] for process in together} == {7.0}
    assert told(start(tmp_path)) == (7.0, 1, 2)


def test_a_broken_numba_is_told_in_one_line(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('no such processor')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import parity.numerics.jit"
    _, error = start(tmp_path, code=code).communicate(timeout=120)
    line = "numba cannot be imported (no such processor); allowed: an installed numba>=0.63"
    assert error.splitlines()[-1] == f"parity.core.errors.ParityError: {line}"


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64])
def test_an_integer_in_the_type_of_another_wraps_as_that_does(kind):
    left = np.array([0, 1, 2, np.iinfo(kind).max, np.iinfo(kind).max], kind)
    right = np.array([0, np.iinfo(kind).max, np.iinfo(kind).max - 2, 0, 1], kind)
    sums = np.zeros(5, np.int64)
    add_as_the_first(left, right, sums)
    with np.errstate(over="ignore"):
        assert sums.tolist() == (left + right > np.iinfo(kind).max - 1).astype(int).tolist()
    assert sums.tolist() == [0, 0, 1, 1, 0]
