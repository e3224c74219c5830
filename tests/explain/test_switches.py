"""Which choice parts two Adams: one that changes a bit is named, one that nothing depends on is not."""

from __future__ import annotations

import pytest

from parity.adam.arithmetic import plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.twin import Twin
from parity.core.hyper import Hyper
from parity.core.stages import Stages
from parity.explain.causes import Family
from parity.explain.choices import switches
from parity.explain.running import Adam
from parity.numerics.formats import FORMATS


@pytest.mark.parametrize(("accumulate", "families"), [(4, [Family.STEP_COUNT]), (1, [])])
def test_steps_that_accumulation_leaves_out_are_counted_or_not(accumulate, families):
    """Keras 3.3 counts them, as tf_keras does; Keras 3.9 does not."""
    hyper = Hyper(stages=Stages(accumulate=accumulate))
    one, other = (
        Adam(hyper, Twin(Convention(Epsilon.HAT, counts_left_out=counts), plain(Epsilon.HAT)))
        for counts in (True, False)
    )
    found = list(switches(one, other, FORMATS["float32"], 8))
    assert [switch.family for switch in found] == families
    assert all("steps left out are not counted" in switch.detail for switch in found)
