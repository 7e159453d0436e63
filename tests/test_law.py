"""The law: every submitted action has exactly one end, and that end is true.

A short set of what `python -m benchmarks.soak` runs by the thousand.
"""

import pytest

from benchmarks.soak import Conditions, soaked


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(30))
async def test_every_action_has_one_end_and_it_is_true(seed: int) -> None:
    """What callers are told agrees with what the service holds, whatever fails on the way."""
    finding = await soaked(Conditions.drawn(seed))
    assert finding.broken == []
    assert finding.ends.total() == finding.submitted > 0


def test_a_seed_is_one_run_and_no_other() -> None:
    """The conditions of a seed are always the same, and differ from those of the next."""
    assert Conditions.drawn(1) == Conditions.drawn(1)
    assert Conditions.drawn(1) != Conditions.drawn(2)
