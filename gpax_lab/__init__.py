"""gpax_lab: probabilistic models with which an instrument decides what to measure next."""
