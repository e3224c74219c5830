"""Real sub-sessions of pytest, in a folder of their own."""

from __future__ import annotations

# A session in this process is made to forget what it imported first. pyarrow holds on to the pandas that it met, and a
# second one has other classes: both are here before.
import pandas  # noqa: F401
import pyarrow.pandas_compat  # noqa: F401
import pytest

QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error")


@pytest.fixture
def case(pytester, case_text):
    """Write the case `name` as `case_text` has it; its path."""

    def write(name="small", folder="cases", **keys):
        path = pytester.path / folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(case_text(**keys))
        return path

    return write


@pytest.fixture
def adam(pytester, adam_text):
    """Write the Adam `name` as `adam_text` has it, in a file of that name; its path."""

    def write(name="mine", **planted):
        path = pytester.path / f"{name}.py"
        path.write_text(adam_text(name, **planted))
        return path

    return write


@pytest.fixture
def session(pytester):
    """Run a session of pytest: in this process, or in one of its own where it is spread over several or `fresh`."""

    def run(*arguments, fresh=False):
        arguments = [*QUIET, *map(str, arguments)]
        if fresh or "-n" in arguments:
            return pytester.runpytest_subprocess(*arguments, timeout=120)
        return pytester.runpytest_inprocess(*arguments)

    return run


@pytest.fixture(params=[(), pytest.param(("-n", "2"), marks=pytest.mark.exhaustive)], ids=["plain", "two"])
def spread(request):
    """How a session is spread over processes; `make test` spreads those whose point it is, `make test-all` each."""
    return request.param


@pytest.fixture
def counted(adam, pytester):
    """An Adam that notes its process at import, and every run it is asked for; both as lists of lines."""
    imported, ran = pytester.path / "imported.txt", pytester.path / "ran.txt"
    path = adam("mine", first=f"with open({str(ran)!r}, 'a') as note: print(os.getpid(), file=note)")
    path.write_text(
        path.read_text() + f"\nif sys.modules['__main__'].__spec__.name.startswith('parity.engine.'):\n"
        f"    with open({str(imported)!r}, 'a') as note: print(os.getpid(), file=note)\n"
    )

    def lines():
        return tuple(one.read_text().split() if one.exists() else [] for one in (imported, ran))

    return lines
