"""Where to measure next: scores of candidate points, penalties, and the search for the best one."""

from gpax_lab.acquire.batches import min_distance, q_log_ei, q_log_nei, thompson_path, ucb_pe
from gpax_lab.acquire.candidates import Box, Pool, grid, pool
from gpax_lab.acquire.candidates import box as box
from gpax_lab.acquire.information import expected_information_gain, parting, uncertainty_of_one
from gpax_lab.acquire.penalties import distance_penalty, feasible, travel
from gpax_lab.acquire.score import Acquisition, of_moments
from gpax_lab.acquire.scores import random, disagreement, learning, log_ei, log_pi, seek, thompson, ucb, uncertainty

__all__ = [
    "Box",
    "Pool",
    "Acquisition",
    "random",
    "box",
    "distance_penalty",
    "disagreement",
    "feasible",
    "grid",
    "expected_information_gain",
    "learning",
    "log_ei",
    "log_pi",
    "min_distance",
    "of_moments",
    "parting",
    "pool",
    "q_log_ei",
    "q_log_nei",
    "seek",
    "thompson",
    "thompson_path",
    "travel",
    "ucb",
    "ucb_pe",
    "uncertainty",
    "uncertainty_of_one",
]
