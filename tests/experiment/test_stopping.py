"""Reasons to stop: what is one, and settings with which a rule would never give one."""

import pytest
from small_campaign import go

from gpax_lab.experiment.stopping import budget, no_more_gain, target


@pytest.mark.parametrize("wrong", [lambda state: True, lambda state: budget(20)])
def test_a_rule_gives_a_reason_in_words(plain, path, wrong):
    """A rule that gives a rule would end the campaign after the seeds."""
    with pytest.raises(TypeError, match="a stopping rule gives a reason in words, or None"):
        go(path, plain, 2, rules=[wrong])


@pytest.mark.parametrize(
    "make",
    [
        lambda: budget(0),
        lambda: target(float("nan")),
        lambda: target(1.0, confidence=95),
        lambda: no_more_gain(-1.0),
        lambda: no_more_gain(float("nan")),
    ],
)
def test_a_rule_that_would_never_stop_is_refused(make):
    with pytest.raises(ValueError, match=r"got (0|nan|1\.0 and 95|nan and 0\.95|-1\.0)\."):
        make()
