"""The generator standard of Xopt, libEnsemble, Optimas and Badger (gest-api): suggest, ingest, finalize."""

import contextlib
from typing import Any

import numpy as np

from gpax_lab.ask_tell._campaign import AskTell
from gpax_lab.ask_tell._suggest import Suggesting

__all__ = ["Generator", "axes"]


def axes(vocs: Any) -> dict[str, tuple[str, float, float]]:
    """The variables of a VOCS as `inputs` of `open_campaign`: name -> (unit, low, high), of unit 1.

    Raises:
        ValueError: a variable that is not continuous and bounded, and no discrete set of numbers.
    """
    return {name: ("1", *_range(name, variable)) for name, variable in vocs.variables.items()}


def _range(name: str, variable: Any) -> tuple[float, float]:
    kind = type(variable).__name__
    if kind != "ContextualVariable" and hasattr(variable, "domain"):
        low, high = map(float, variable.domain)
        return low, high
    if hasattr(variable, "values"):
        with contextlib.suppress(TypeError, ValueError):
            numbers = [float(value) for value in variable.values]
            return min(numbers), max(numbers)
    raise ValueError(f"the variable {name!r} ({kind}) is neither a range nor a set of numbers.")


class Generator(Suggesting):
    """A campaign as a generator of the standard gest-api 0.2 (campa-consortium.github.io/gest-api).

    Suggestions carry the numbers of their points as `_id`, which come back with their results. Where gest-api is
    installed an instance is one of its `Generator`.

    Args:
        vocs: `gest_api.vocs.VOCS` whose variables are the inputs of the campaign, with one objective.
        campaign: see `open_campaign`; `axes(vocs)` are its `inputs`.

    Raises:
        ValueError: other variables than the campaign has, several objectives, or constraints.
    """

    def __init__(self, vocs: Any, campaign: AskTell) -> None:
        self.vocs = vocs
        self.campaign = campaign
        self._validate_vocs(vocs)
        (objective,) = vocs.objectives
        constants = {name: getattr(value, "value", value) for name, value in (vocs.constants or {}).items()}
        super().__init__(campaign, objective, constants)
        with contextlib.suppress(ImportError):
            import gest_api

            gest_api.Generator.register(type(self))

    def _validate_vocs(self, vocs: Any) -> None:
        if set(vocs.variables) != set(self.campaign.names):
            raise ValueError(
                f"the variables are {sorted(vocs.variables)}, and the campaign has {sorted(self.campaign.names)}: open "
                "it with inputs=gest.axes(vocs)."
            )
        if len(vocs.objectives) != 1:
            raise ValueError(f"a campaign learns one quantity; there are {len(vocs.objectives)} objectives.")
        if vocs.constraints:
            raise ValueError(
                f"constraints on results ({sorted(vocs.constraints)}) are not followed: put what must hold into the "
                "acquisition function, acquisition.feasible."
            )
        axes(vocs)

    def _vet(self, x: np.ndarray) -> None:
        """Every point lies in the ranges of the variables."""
        known = axes(self.vocs)
        for column, name in enumerate(self.campaign.names):
            _, low, high = known[name]
            outside = [value for value in x[:, column] if not low <= value <= high]
            if outside:
                raise ValueError(
                    f"the campaign proposes {name} = {outside[0]:g}, and the range is {low:g} to {high:g}: give its "
                    "experiment candidates, and the campaign seeds, inside of the range."
                )

    def finalize(self) -> None:
        """Close the journal, in which all that was ingested is already."""
        self.campaign.close()
