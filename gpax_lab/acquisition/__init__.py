"""Where to measure next: acquisition functions, penalties to add to them, and the search for the best candidate."""

from gpax_lab.acquisition._acquisition import Acquisition, of_moments
from gpax_lab.acquisition._batches import min_distance, q_log_ei, q_log_nei, thompson_path, ucb_pe
from gpax_lab.acquisition._candidates import Box, Pool, box, grid, pool
from gpax_lab.acquisition._functions import (
    disagreement,
    learning,
    log_ei,
    log_pi,
    random,
    seek,
    thompson,
    ucb,
    uncertainty,
)
from gpax_lab.acquisition._information import expected_information_gain, parting, uncertainty_of_one
from gpax_lab.acquisition._penalties import distance_penalty, feasible, travel

__all__ = [
    "Acquisition",
    "Box",
    "Pool",
    "box",
    "disagreement",
    "distance_penalty",
    "expected_information_gain",
    "feasible",
    "grid",
    "learning",
    "log_ei",
    "log_pi",
    "min_distance",
    "of_moments",
    "parting",
    "pool",
    "q_log_ei",
    "q_log_nei",
    "random",
    "seek",
    "thompson",
    "thompson_path",
    "travel",
    "ucb",
    "ucb_pe",
    "uncertainty",
    "uncertainty_of_one",
]
