"""Releases of a small package that brings an Adam, which some of them change."""

from __future__ import annotations

import json
import zipfile

import pytest

ALPHA = "f(hyper.lr_at(t) * (1 - hyper.beta2**t) ** 0.5 / (1 - hyper.beta1**t))"
HAT = (
    "f(hyper.lr_at(t)) * m_hat / (np.sqrt(v_hat) + f(hyper.eps))",
    f"{ALPHA} * m[name] / (np.sqrt(v[name]) + f(hyper.eps))",
)
RAISES = "if t == 3: raise ValueError('planted')"

# What a release changes for good, and what it asks for.
RELEASES = {
    "1.0": {},
    "1.1": {},
    "1.2": {"requires": "nowhere-to-be-had"},
    "1.3": {},
    "2.0rc1": {"swap": [HAT]},
    "2.0": {"swap": [HAT]},
    "2.1": {"swap": [HAT]},
    "2.2": {"requires": "nowhere-to-be-had"},
    "2.3": {},
    "3.0": {"before": RAISES},
    "3.1": {"swap": [HAT]},
}


def pack(folder, version, source, requires):
    """Write the wheel of a release."""
    home = f"adams-{version}.dist-info"
    asked = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        "adams.py": source,
        f"{home}/METADATA": f"Metadata-Version: 2.1\nName: adams\nVersion: {version}\n{asked}",
        f"{home}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{home}/RECORD"])
    with zipfile.ZipFile(folder / f"adams-{version}-py3-none-any.whl", "w") as archive:
        for path, content in (files | {f"{home}/RECORD": record}).items():
            archive.writestr(path, content)


@pytest.fixture(scope="session")
def adams(wheels, adam_text):
    """The package in the folder of wheels; its plug-in is importable in environments only."""
    for version, planted in RELEASES.items():
        changed = {name: value for name, value in planted.items() if name != "requires"}
        pack(wheels, version, adam_text("run", **changed), planted.get("requires"))
    return "adams:run"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A cache for all tests, so that every environment is built once."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def steady(write_adam):
    """An Adam that is the same in every environment: it needs NumPy and nothing else."""
    return write_adam("steady")


@pytest.fixture
def call(command, quick_index, adams, built, monkeypatch, tmp_path, write_case):
    """Call a command on a small case and the package's Adam: (code, standard output, standard error, answer)."""
    monkeypatch.setenv("PARITY_CACHE", str(built))
    monkeypatch.chdir(tmp_path)
    case = write_case()

    def run(name, *arguments, implementations=(adams,), cases=(case,)):
        answer = tmp_path / "answer.json"
        answer.unlink(missing_ok=True)
        chosen = [word for one in implementations for word in ("-i", one)]
        code, out, err = command(name, *cases, *chosen, "-q", "--json", answer, *arguments)
        return code, out, err, json.loads(answer.read_text()) if answer.exists() else None

    run.case = case
    return run
