"""Posteriors in files: those of competing hypotheses, and the function that reads any of them back."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gpax_lab.hypotheses._mixture import Hypotheses
from gpax_lab.hypotheses._model_average import ModelAverage
from gpax_lab.inference._stored import read, unpack
from gpax_lab.models._model import Model


def load_posterior(path: str | Path, model: Model | Hypotheses) -> Any:
    """The posterior that `save` wrote: it predicts, and a campaign goes on from it, as from the one that was saved.

    Args:
        path: of the .npz file.
        model: the model, or the hypotheses, built by the same lines as the one that was fitted.

    Returns:
        A Posterior, or a ModelAverage where hypotheses were saved.

    Raises:
        ValueError: no such file content, or another model: its parameters, names or predictions differ, or the
            hypotheses have other prior probabilities.
    """
    about, arrays = read(path)
    names = about.get("names")
    if names is None:
        if not isinstance(model, Model):
            raise ValueError(f"{path} holds the posterior of one model: give that model.")
        return unpack(about["each"][0], "0/", arrays, model)
    if not isinstance(model, Hypotheses) or list(model.names) != names:
        raise ValueError(f"{path} holds a model average of {names}: give hypotheses of these names, in this order.")
    before = arrays.get("prior")
    if before is not None and not np.allclose(before, model.prior, rtol=1e-9, atol=0.0):  # files of before have none
        raise ValueError(
            f"{path} was saved with prior probabilities {before.tolist()} of {names}, and the hypotheses given have "
            f"{np.asarray(model.prior).tolist()}: give those of the file, or fit anew."
        )
    each = zip(about["each"], model.models.values(), strict=True)
    posteriors = tuple(unpack(one, f"{i}/", arrays, of) for i, (one, of) in enumerate(each))
    return ModelAverage(posteriors, model, jnp.asarray(arrays["log_prior"]))
