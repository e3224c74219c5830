"""What a plug-in's process is forked with: the frameworks that its file imports before it does anything."""

from __future__ import annotations

import psutil
import pytest

from parity.engine.candidates import describe_plugin
from parity.engine.forking import end_origins
from parity.engine.sources import imports_first


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""Mine."""\nfrom __future__ import annotations\nimport os, math\nimport torch', "torch"),
        ("import numpy as np\nimport parity\nfrom torch.optim import Adam\nimport torch", "torch"),
        ("import jax.numpy as jnp\nimport optax", "import jax optax"),
        ("from keras import optimizers\nimport torch", "import keras torch"),
        ("import ml_dtypes", ""),
        ("import math", ""),
        ("import os\nos.environ['KERAS_BACKEND'] = 'jax'\nimport keras", ""),
        ("import mine\nimport torch", ""),
        ("from . import beside\nimport torch", ""),
        ("import jax\njax.config.update('jax_platforms', 'cpu')\nimport torch", "import jax"),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", ""),
        ("def run():\n    import torch", ""),
        ("import torch\nthis is no Python", ""),
    ],
)  # fmt: skip
def test_frameworks_that_come_before_anything_else(tmp_path, text, found):
    (tmp_path / "mine.py").write_text(text)
    assert imports_first(f"{tmp_path / 'mine.py'}:run?lr=0.1") == found


def test_a_target_of_a_framework_is_found_in_it(tmp_path):
    assert imports_first("torch.optim:Adam") == "torch"
    assert imports_first("optax:adam?b1=0.8") == "import optax"
    assert imports_first("mine.adams:run") == ""
    assert imports_first(f"{tmp_path / 'missing.py'}:run") == ""


@pytest.mark.frameworks
def test_a_plug_in_is_forked_from_what_has_imported_its_framework(tmp_path, write_adam):
    """Two processes of it have one import between them, and see of it what they would see alone."""
    end_origins()
    target = write_adam(first="import optax")
    file = tmp_path / "plugin.py"
    file.write_text("import jax\n" + file.read_text())
    for _ in range(2):
        assert describe_plugin(target, tmp_path).imports == "import jax"
    (origin,) = [one for one in psutil.Process().children() if "parity.engine.forking" in one.cmdline()]
    assert origin.cmdline()[3] == "import jax"
    end_origins()


def test_what_lies_beside_a_plug_in_under_a_framework_s_name_is_its_own(tmp_path, write_adam):
    """The process to fork from has another module of that name, and is not used."""
    target = write_adam()
    file = tmp_path / "plugin.py"
    told = tmp_path / "told"
    file.write_text(f"import torch\nassert torch.MINE\nopen({str(told)!r}, 'w').write('mine')\n" + file.read_text())
    (tmp_path / "torch.py").write_text("MINE = True\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        describe_plugin(target, tmp_path)
    assert told.read_text() == "mine"
