"""Where to measure next: scores of candidate points, penalties, and the search for the best one."""

from gpax_lab.acquire.candidates import Box, Pool, grid, pool
from gpax_lab.acquire.candidates import box as box
from gpax_lab.acquire.penalties import closeness, feasible, travel
from gpax_lab.acquire.score import Score, of_moments
from gpax_lab.acquire.scores import disagreement, log_ei, log_pi, thompson, ucb, uncertainty

__all__ = [
    "Box",
    "Pool",
    "Score",
    "box",
    "closeness",
    "disagreement",
    "feasible",
    "grid",
    "log_ei",
    "log_pi",
    "of_moments",
    "pool",
    "thompson",
    "travel",
    "ucb",
    "uncertainty",
]
