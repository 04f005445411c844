"""A short run of checks/long/chaos.py."""

import chaos


def test_responses_that_claim_completeness_are_complete_under_random_faults(tmp_path):
    tally, faults, _ = chaos.run(tmp_path, answers=600, seconds=30)
    print(tally.outcomes, faults.counts)
    assert not tally.faults, tally.faults[:5]
    assert not tally.verdicts.wrong, tally.verdicts.wrong[:5]
    assert sum(faults.counts.values()) > 10
    assert sum(count for outcome, count in tally.outcomes.items() if "whole" in outcome) > 20
