"""Laws: physics mean functions with priors, units, formula and source."""
