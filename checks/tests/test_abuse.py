"""The short form of checks/long/abuse.py, with seeds that never change."""

import abuse
import pytest


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_abuse_neither_stops_nor_fills_it(tmp_path, seed):
    tally = abuse.abuse(tmp_path, seed, seconds=15)
    assert not tally.faults, tally.faults[:5]
    assert sum(tally.outcomes.values()) > 50
