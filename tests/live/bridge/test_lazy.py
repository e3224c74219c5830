"""`parity.live.bridge` imports a framework only for the class that is asked for."""

from __future__ import annotations

import pytest

from parity.live import bridge

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import parity.live.bridge", set()),
        pytest.param("from parity.live.bridge import KerasAdam", {"torch"}, marks=pytest.mark.frameworks),
        pytest.param("from parity.live.bridge import TorchAdam", {"keras", "tensorflow"}, marks=pytest.mark.frameworks),
    ],
)
def test_only_the_framework_that_is_asked_for_is_imported(process, code, expected):
    code += "; import sys; print(*({name.split('.')[0] for name in sys.modules} & {'keras', 'tensorflow', 'torch'}))"
    one = process(code=code, KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    out, err = one.communicate(timeout=120)
    assert one.returncode == 0, err
    assert set(out.split()) == expected


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'parity\.live\.bridge' has no attribute 'Adam'$"):
        bridge.Adam  # noqa: B018
