"""An experiment is a pure state machine; `simulate` and `run` are the two ways to drive it."""

from gpax_lab.experiment import interventions, stopping
from gpax_lab.experiment.bayes_opt import bayes_opt
from gpax_lab.experiment.contracts import Event, Outcome
from gpax_lab.experiment.corner import Reach, reach, reach_of
from gpax_lab.experiment.experiment import Experiment, NothingLeft, Objective, State
from gpax_lab.experiment.recovery import Recovery, recovery
from gpax_lab.experiment.room import buffer_for
from gpax_lab.experiment.run import run
from gpax_lab.experiment.simulate import Trajectory, simulate
from gpax_lab.experiment.simulated import Simulated
from gpax_lab.experiment.study import Problem, Study, study

__all__ = [
    "Event",
    "Experiment",
    "NothingLeft",
    "Objective",
    "Outcome",
    "Problem",
    "Reach",
    "Recovery",
    "Simulated",
    "State",
    "Study",
    "Trajectory",
    "bayes_opt",
    "interventions",
    "reach",
    "reach_of",
    "recovery",
    "buffer_for",
    "run",
    "simulate",
    "stopping",
    "study",
]
