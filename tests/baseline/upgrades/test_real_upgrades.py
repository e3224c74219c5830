"""Real releases of real frameworks, and what is known of their numbers."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
import tempfile

import pytest

from parity.baseline.environments.installer import choose_installer, installer_environment
from parity.baseline.store import baselines_in

pytestmark = pytest.mark.thorough


KERAS_3 = {"keras.adam.eager", "keras.adam.function", "keras.adam.xla"}
KERNEL = {"tensorflow.adam.kernel"}
KERAS_2 = {"tf_keras.adam.legacy", "tf_keras.adam.new"}
OPTAX = {"optax.adam.jit", "optax.adam.plain"}
CASE = ("-k", "same-hyperparameters", "-d", "float32", "-q")


@pytest.fixture
def other_python(tmp_path):
    """Another interpreter, with everything that is installed here."""
    home = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(home / "bin" / "python")


@pytest.fixture
def old_keras(other_python):
    """An interpreter with Keras 3.3.3 before everything that is installed here."""
    python = other_python
    install = [*choose_installer().install(python), "--no-deps", "--ignore-installed", "keras==3.3.3"]
    subprocess.run(install, check=True, env=installer_environment(), capture_output=True)
    return python


@pytest.mark.frameworks
def test_two_releases_of_keras(old_keras, command, tmp_path):
    """The same TensorFlow below both; every bit of every step is the same."""
    answer = tmp_path / "answer.json"
    sides = ("--before-python", old_keras, "--after-python", sys.executable)
    code, _, err = command("upgrade", *CASE, "-i", "keras.adam.*", *sides, "-o", tmp_path / "kept", "--json", answer)
    assert (code, err) == (0, "")
    told = json.loads(answer.read_text())
    here = importlib.metadata.version("keras")
    assert told["environment"] == [{"what": "keras", "before": "3.3.3", "after": here}]
    assert {one["implementation"] for one in told["entries"]} == KERAS_3
    assert told["counts"]["identical"] == 3
    # 32 steps and the initial state, of w, m and v.
    assert told["compared"] == 3 * 3 * 33


@pytest.mark.frameworks
@pytest.mark.exhaustive
def test_torch_is_known_to_the_last_bit_under_another_interpreter(other_python, command, tmp_path):
    """Its twins take the square root of torch itself, which only the interpreter that has torch can be asked for."""
    sides = ("--before-python", other_python, "--after-python", sys.executable)
    asked = ("-k", "same-hyperparameters", "-d", "float64", "-d", "float32", "-i", "torch.adam.f*")
    code, out, _ = command("upgrade", *asked, *sides, "-o", tmp_path / "kept", "-q")
    assert (code, "6 identical; " in out) == (0, True)
    for side in ("before", "after"):
        (baseline,) = baselines_in(tmp_path / "kept" / side)
        entries = [one for cell in baseline.cells for one in baseline.entries(*cell).values()]
        assert len(entries) == 6
        assert all(one.known for one in entries)


@pytest.fixture
def cache(monkeypatch):
    """A cache that goes with the test: pytest keeps its own folders, and these are large."""
    with tempfile.TemporaryDirectory(prefix="parity-cache-") as folder:
        monkeypatch.setenv("PARITY_CACHE", folder)
        yield folder


# Pins before, pins after, pins on both sides; who can run on both; who changed, on that case in float32; who is new.
UPGRADES = [
    (("keras==3.3.3",), ("keras==3.15.1",), ("tensorflow-cpu==2.21.0",), KERAS_3, set(), set()),
    (("tensorflow-cpu==2.16.2",), ("tensorflow-cpu==2.21.0",), ("keras==3.12.0",), KERAS_3 | KERNEL, set(), set()),
    (("tensorflow-cpu==2.15.1",), ("tensorflow-cpu==2.21.0", "keras==3.15.1"), (), KERNEL, set(), KERAS_3),
    (
        ("optax==0.1.2", "jax==0.4.13", "jaxlib==0.4.13"),
        ("optax==0.2.8", "jax==0.10.2", "jaxlib==0.10.2"),
        (),
        OPTAX,
        {"optax.adam.plain"},
        set(),
    ),
    (
        ("optax==0.1.4", "jax==0.4.13", "jaxlib==0.4.13"),
        ("optax==0.2.8", "jax==0.10.2", "jaxlib==0.10.2"),
        (),
        OPTAX,
        set(),
        set(),
    ),
]


@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("before", "after", "beside", "both", "changed", "new"), UPGRADES, ids=[" ".join(one[0]) for one in UPGRADES]
)
def test_an_upgrade_that_downloads(before, after, beside, both, changed, new, cache, command, tmp_path):
    answer = tmp_path / "answer.json"
    pins = [("--before", before), ("--after", after), ("--with", beside)]
    words = [word for flag, members in pins for pin in members for word in (flag, pin)]
    code, _, _ = command("upgrade", *CASE, *words, "-o", tmp_path / "kept", "--json", answer)
    told = json.loads(answer.read_text())
    statuses = {one["implementation"]: one["status"] for one in told["entries"]}
    assert {name for name, status in statuses.items() if status in ("identical", "changed")} == both
    assert {name for name, status in statuses.items() if status == "changed"} == changed
    if changed == {"optax.adam.plain"}:
        (change,) = [one["change"] for one in told["entries"] if one["status"] == "changed"]
        assert change["explained"]
        assert [cause["family"] for cause in change["causes"]] == ["beta-power"]
    assert {name for name, status in statuses.items() if status == "missing"} == new
    assert code == (0 if statuses.keys() == both and not changed else 1)
