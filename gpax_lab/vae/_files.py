"""Trained models in a file."""

import json
from pathlib import Path

import flax.serialization
import jax
import numpy as np

from gpax_lab.vae._elbo import ELBOTerms
from gpax_lab.vae._fingerprint import agree, of_trained
from gpax_lab.vae._model import VAE, Params
from gpax_lab.vae._training import History, Trained

MARK = "gpax_lab vae 2"


def save(path: str | Path, trained: Trained) -> None:
    """Write parameters and history; the model itself is code, and is given again to `load`.

    Args:
        path: of the file, which is not there yet.
        trained: from `train`.

    Raises:
        FileExistsError: the file is there already.
    """
    location = Path(path)
    if location.exists():
        raise FileExistsError(f"{location} is there already: remove it, or take another name.")
    head = json.dumps({"mark": MARK, "outcome": trained.outcome, "members": trained.members})
    body = {
        "head": head,
        "params": jax.tree.map(np.asarray, trained.params),
        "terms": {name: np.asarray(term) for name, term in trained.history.terms._asdict().items()},
        "held_out": np.asarray(trained.history.held_out),
        "bound": of_trained(trained.model, _first(trained.params, trained.members)),
    }
    location.write_bytes(flax.serialization.msgpack_serialize(body))


def load(path: str | Path, model: VAE) -> Trained:
    """Read what `save` wrote, for a model that is composed as the one that was trained.

    Args:
        path: of the file.
        model: composed as the one that was trained.

    Returns:
        A `Trained`.

    Raises:
        ValueError: the file is none of ours, or holds parameters of another model: of other shapes, or with another
            bound.
    """
    try:
        body = flax.serialization.msgpack_restore(Path(path).read_bytes())
        head = json.loads(body["head"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of a trained model.") from error
    if head.get("mark") != MARK:
        raise ValueError(f"{path} was written by another version: {head.get('mark')}.")
    known = jax.eval_shape(model.init, jax.random.key(0))
    extra = () if head["members"] is None else (head["members"],)
    want = {jax.tree_util.keystr(at): extra + leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(known)}
    have = {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(body["params"])}
    if want != have:
        differs = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
        raise ValueError(f"{path} holds another model; these parameters differ: {', '.join(differs[:4])}.")
    params = jax.tree.map(jax.numpy.asarray, body["params"])
    if not agree(of_trained(model, _first(params, head["members"])), body["bound"]):
        raise ValueError(
            f"{path} holds another model: with its parameters this one has another bound. Compose it as the one that "
            "was trained, of the same parts, likelihood and activations."
        )
    history = History(ELBOTerms(**body["terms"]), body["held_out"])
    return Trained(model, params, history, head["outcome"], head["members"])


def _first(params: Params, members: int | None) -> Params:
    return params if members is None else jax.tree.map(lambda leaf: leaf[0], params)
