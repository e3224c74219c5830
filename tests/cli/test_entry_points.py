"""An installed package joins by its entry point; its code runs in a worker only."""

from __future__ import annotations

import pytest


@pytest.fixture
def installed(tmp_path, adam_text, monkeypatch):
    """Make a package out of thin air that offers an Adam, and says so when it is imported."""
    site = tmp_path / "site"
    facts = site / "offered-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "offered.py").write_text(
        f"from pathlib import Path\nPath({str(site / 'imported')!r}).touch()\n" + adam_text("my_adam")
    )
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[parity.implementations]\nadam.mine = offered:my_adam\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


def test_it_is_listed_without_being_imported(installed, process):
    out, _ = process("list", "implementations", "-k", "user").communicate(timeout=60)
    assert "user.adam.mine" in out
    assert "offered:my_adam" in out
    assert not (installed / "imported").exists()


@pytest.mark.parametrize("name", ["adam.mine", "user.adam.mine"])
def test_it_runs_under_the_name_it_is_listed_by(installed, process, write_case, name):
    one = process("run", write_case(), "-i", name, "-v", "-o", "run")
    out, err = one.communicate(timeout=60)
    assert one.returncode == 0, err
    assert "user.adam.mine" in out
    assert (installed / "imported").exists()
