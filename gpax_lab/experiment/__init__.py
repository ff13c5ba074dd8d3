"""An experiment is a pure state machine; `simulate` and `run` are the two ways to drive it."""

from gpax_lab.experiment import interventions, stopping
from gpax_lab.experiment._bayes_opt import bayes_opt
from gpax_lab.experiment._buffer import buffer_for
from gpax_lab.experiment._contracts import Event, Outcome
from gpax_lab.experiment._experiment import Experiment, NothingLeft, State
from gpax_lab.experiment._reach import reach
from gpax_lab.experiment._recovery import Recovery, recovery
from gpax_lab.experiment._run import run
from gpax_lab.experiment._simulate import Trajectory, simulate
from gpax_lab.experiment._simulated import Simulated
from gpax_lab.experiment._study import Problem, Study, study
from gpax_lab.experiment._tracked import Tracked

__all__ = [
    "Event",
    "Experiment",
    "NothingLeft",
    "Outcome",
    "Problem",
    "Recovery",
    "Simulated",
    "State",
    "Study",
    "Tracked",
    "Trajectory",
    "bayes_opt",
    "buffer_for",
    "interventions",
    "reach",
    "recovery",
    "run",
    "simulate",
    "stopping",
    "study",
]
