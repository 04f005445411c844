"""A short run of checks/long/abuse.py with fixed seeds."""

import abuse
import pytest


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_survives_random_abuse(tmp_path, seed):
    tally = abuse.abuse(tmp_path, seed, seconds=15)
    assert not tally.faults, tally.faults[:5]
    assert sum(tally.outcomes.values()) > 50
