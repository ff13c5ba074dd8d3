"""Laws of physics as mean functions, each with priors, units, formula and source: hypotheses to choose between.

`shapes` (lines, steps, peaks), `transitions` (phase transitions), `mixtures` (composition), `domain_writing`.
"""

from gpax_lab.laws import domain_writing, mixtures, shapes, transitions

__all__ = ["domain_writing", "mixtures", "shapes", "transitions"]
