"""16-bit numbers as float32."""

from __future__ import annotations

import numpy as np
import pytest

from parity.numerics.formats import FORMATS, from_bits
from parity.numerics.widen import widen


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_finite_number_is_widened_exactly(name):
    format = FORMATS[name]
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    bits = bits[(bits & 0x7FFF) < format.infinity_bits]
    wide = widen(bits.view(np.int16), format, np.empty(bits.size, np.float32))
    assert np.array_equal(wide.view(np.uint32), from_bits(bits, format).astype(np.float32).view(np.uint32))
