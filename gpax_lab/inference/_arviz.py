"""A posterior as ArviZ has them: draws of equal weight in an xarray DataTree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpax_lab.core import Status
from gpax_lab.core._observations import Observations
from gpax_lab.inference._posterior import Info, Posterior
from gpax_lab.models._model import LeavesOneOut

if TYPE_CHECKING:
    import xarray


def to_arviz(
    posterior: Any,
    obs: Observations | None = None,
    num_samples: int | None = None,
    names: Sequence[str] | None = None,
    output: str = "y",
) -> "xarray.DataTree":
    """A posterior and its observations as a DataTree of ArviZ 1.x, for its diagnostics, comparisons and figures.

    The group `posterior` has the parameters, `sample_stats` the log weight that each draw had, and the diagnostics of
    the fit as attributes. With observations there are `observed_data`, `constant_data` (inputs and known variances),
    and, where the model says in closed form what the other observations say of each, `log_likelihood`: the log density
    of each observation given all others and the parameters, by which PSIS-LOO is right for processes, too (Buerkner,
    Gabry & Vehtari 2021, Computational Statistics 36, 1243).

    Args:
        posterior: what a sampler returned; of hypotheses that compete there is one tree for each, under its name.
        obs: the observations that it was fitted to, or None.
        num_samples: draws of equal weight, chosen by weight (systematic resampling); None for as many as there are.
        names: (d,) of the inputs.
        output: name of the quantity.

    Raises:
        ImportError: arviz-base is not installed.
        ValueError: fewer than one draw.
    """
    try:
        import arviz_base
        import xarray
    except ImportError as error:
        raise ImportError("to_arviz needs arviz-base: pip install 'gpax-lab[arviz]'.") from error
    if num_samples is not None and not num_samples >= 1:
        raise ValueError(f"num_samples must be at least 1, or None for all; got {num_samples}.")
    several = getattr(posterior, "posteriors", None)
    if several is not None:
        probability = np.asarray(posterior.probability, float)
        children = {}
        for name, one, share in zip(posterior.names, several, probability, strict=True):
            children[name] = to_arviz(one, obs, num_samples, names, output)
            children[name].attrs["probability"] = float(share)
        return xarray.DataTree(children=children)
    groups = _groups(posterior, obs, num_samples, names, output)
    data: Any = {"x": ["observation", "input"], "variance": ["observation"], output: ["observation"]}
    coords: Any = {} if obs is None else {"input": list(names or _names(obs.x.shape[1]))}
    attrs = {"posterior": _diagnostics(posterior.info)}
    trees = {}
    for group, values in groups.items():  # one by one: a parameter may be called as an input is
        drawn = group in ("posterior", "sample_stats", "log_likelihood")
        trees[group] = arviz_base.dict_to_dataset(
            values,
            sample_dims=["chain", "draw"] if drawn else [],
            dims=data if group in ("observed_data", "constant_data", "log_likelihood") else None,
            coords=coords if group == "constant_data" else None,
            attrs=attrs.get(group),
        )
    return xarray.DataTree.from_dict(trees)


def _names(count: int) -> list[str]:
    return ["x"] if count == 1 else [f"x{i}" for i in range(count)]


def _groups(
    posterior: Posterior,
    obs: Observations | None,
    num_samples: int | None,
    names: Sequence[str] | None,
    output: str,
) -> dict[str, dict[str, np.ndarray]]:
    weight = np.asarray(posterior.log_weight, np.float64)
    chosen = _systematic(weight, weight.size if num_samples is None else num_samples)
    groups = {
        "posterior": {name: np.asarray(value)[chosen][None] for name, value in posterior.params.items()},
        "sample_stats": {"log_weight": weight[chosen][None], "draw_index": chosen[None]},
    }
    if obs is None:
        return groups
    good = np.asarray(obs.measured)
    groups["observed_data"] = {output: np.asarray(obs.y)[good]}
    groups["constant_data"] = {"x": np.asarray(obs.x)[good], "variance": np.asarray(obs.noise)[good]}
    model = posterior.model
    if isinstance(model, LeavesOneOut) and model.tails is None and obs.y.ndim == 1:
        mean, variance = (np.asarray(part, np.float64)[chosen][:, good] for part in posterior.leave_one_out(obs))
        residual = np.asarray(obs.y, np.float64)[good][None] - mean
        density = -0.5 * (residual**2 / variance + np.log(2 * np.pi * variance))
        groups["log_likelihood"] = {output: density[None]}
    return groups


def _systematic(log_weight: np.ndarray, count: int) -> np.ndarray:
    """(count,) numbers of draws: each as often as its share says, without chance."""
    edges = np.cumsum(np.exp(log_weight - log_weight.max()))
    position = (np.arange(count) + 0.5) / count * edges[-1]
    return np.minimum(np.searchsorted(edges, position), log_weight.size - 1)


def _diagnostics(info: Info) -> dict[str, Any]:
    values = {name: np.asarray(value).item() for name, value in info._asdict().items()}
    return values | {"status": Status.of(info.status).name}
