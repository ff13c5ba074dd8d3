"""Reasons to stop: what is one, and settings with which a rule would never give one."""

import pytest
from small_campaign import go

from gpax_lab.experiment.stopping import budget, no_more_gain, target


@pytest.mark.parametrize("wrong", [budget, lambda state: True])
def test_a_rule_gives_a_reason_in_words(plain, path, wrong):
    """`budget` in place of `budget(20)` gives a function, which would end the campaign after the seeds."""
    with pytest.raises(TypeError, match="a stopping rule gives a reason in words, or None"):
        go(path, plain, 2, rules=[wrong])


@pytest.mark.parametrize(
    "make",
    [
        lambda: budget(0),
        lambda: target(float("nan")),
        lambda: target(1.0, confidence=95),
        lambda: no_more_gain(0.0),
        lambda: no_more_gain(float("nan")),
    ],
)
def test_a_rule_that_would_never_stop_is_refused(make):
    with pytest.raises(ValueError, match=r"got (0|nan|1\.0 and 95|nan and 0\.95|0\.0)\."):
        make()
