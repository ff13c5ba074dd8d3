"""What a prior may hold: numpyro distributions and programs that samplers treat rightly; the rest is refused by name.

Samplers of the library move in continuous coordinates from draws of the prior. What a program has observed (sites with
`obs=`, `handlers.condition` and `substitute`, `numpyro.factor`) is no coordinate: its log density is part of the
posterior, once.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions.transforms import biject_to
from numpyro.primitives import Messenger

Program = Callable[[], dict[str, Array]]

REFUSED = {
    "param": "a numpyro.param, which no sampler here optimises: give it a distribution, or a number",
    "mutable": "a numpyro.mutable state, which a prior can not have: compute the value from its parameters",
    "control_flow": "a numpyro scan or cond, which has no fixed coordinates here: use a plate, a distribution of a "
    "vector (GaussianRandomWalk), or one hypothesis for each branch",
    "prng_key": "a numpyro.prng_key, randomness that no site describes: draw it by numpyro.sample",
}


class _Vetted(Messenger):
    """Lets through what is treated rightly; values that a handler put in count as observed."""

    def process_message(self, msg: dict[str, Any]) -> None:
        kind, name = msg["type"], msg.get("name") or ""
        if kind in REFUSED:
            raise ValueError(f"the prior program has {f'{name!r}, ' if name else ''}{REFUSED[kind]}.")
        if kind == "plate":
            size, taken = msg["args"]
            if taken not in (None, size):
                raise ValueError(
                    f"the plate {name!r} of the prior program takes {taken} of {size} at random: a prior has all of "
                    "them, leave subsample_size out."
                )
        if kind != "sample":
            return
        if not msg["is_observed"] and msg["value"] is None and _certain(msg["fn"]):
            msg["value"] = msg["fn"].sample(jax.random.key(0))
            msg["type"] = "deterministic"
            return
        if msg["value"] is not None and not msg["is_observed"]:  # `substitute`, `replay`
            msg["is_observed"] = True
        if msg["is_observed"]:
            msg["value"] = _observed(name, msg["fn"], msg["value"])
            return
        # A seed within the program would give every draw the same value.
        msg["kwargs"]["rng_key"] = None
        check_distribution(name, msg["fn"])
        if msg["scale"] is not None and not _all_of(msg["scale"], 1.0):
            raise ValueError(
                f"{name!r} stands under handlers.scale, so that its density is none: scale observed sites and factors, "
                "and give a parameter the distribution that is meant."
            )


def _core(fn: Any) -> Any:
    """The distribution without what numpyro wraps around it for shape and mask."""
    while isinstance(fn, dist.ExpandedDistribution | dist.Independent | dist.MaskedDistribution):
        fn = fn.base_dist
    return fn


def _certain(fn: Any) -> bool:
    """Whether it is a value and no distribution."""
    return isinstance(_core(fn), dist.Delta) and _all_of(_core(fn).log_density, 0.0)


def _all_of(values: Any, wanted: float) -> bool:
    return not isinstance(values, jax.core.Tracer) and bool(np.all(np.asarray(values) == wanted))


def _observed(name: str, fn: Any, value: Any) -> Any:
    """The observed value as an array."""
    if isinstance(_core(fn), dist.Unit) or isinstance(value, jax.core.Tracer):
        return value
    hidden = isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value)
    usable = not hidden and np.issubdtype(np.asarray(value).dtype, np.number)
    if not usable or (not isinstance(fn, dist.MaskedDistribution) and not np.isfinite(np.asarray(value)).all()):
        raise ValueError(
            f"the observed site {name!r} of the prior program holds {value!r}: leave out what was not observed."
        )
    with jax.ensure_compile_time_eval():
        fits = fn.support(np.asarray(value))
    if not isinstance(fits, jax.core.Tracer) and not np.all(np.asarray(fits)):
        raise ValueError(
            f"the observed site {name!r} of the prior program lies outside of its distribution: {value!r}."
        )
    return jnp.asarray(value)


def check_distribution(name: str, fn: Any) -> None:
    """Refuse a distribution whose parameter the samplers can not draw or move.

    Raises:
        ValueError: it is discrete, improper, masked, or lives where there are no unconstrained coordinates.
    """
    core = _core(fn)
    if isinstance(core, dist.ImproperUniform):
        raise ValueError(
            f"the prior of {name!r} is improper: nothing can be drawn from it and evidence means nothing. Give a wide "
            "proper one, e.g. numpyro.distributions.Normal(0.0, 100.0)."
        )
    if fn.support.is_discrete:
        raise ValueError(
            f"the prior of {name!r} is discrete, and parameters move continuously: sum over it "
            "(numpyro.distributions.MixtureSameFamily), or let each value be one of `hypotheses`."
        )
    if isinstance(fn, dist.MaskedDistribution) and not _all_of(fn._mask, 1):
        raise ValueError(
            f"{name!r} is masked, so that it has no prior (numpyro makes such a site of obs_mask, too): leave what "
            "was not observed out of the program, and mask observed sites only."
        )
    try:
        biject_to(fn.support)
    except NotImplementedError as error:
        raise ValueError(
            f"the prior of {name!r} lives on {fn.support!r}, for which numpyro has no unconstrained coordinates: use "
            "numpyro.handlers.reparam, or describe it by other parameters."
        ) from error


def vetted(program: Program) -> Program:
    """The program with its observed sites marked; errors name what no sampler can treat."""

    needed = [
        name
        for name, each in inspect.signature(program).parameters.items()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise ValueError(f"a prior program takes no arguments, and this one wants {needed}: give it those beforehand.")

    def checked() -> dict[str, Array]:
        with _Vetted():
            return program()

    return checked


def latent_and_observed(program: Program) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the sites of a vetted program that are coordinates, and of those that are observed (factors too)."""
    found: dict[str, bool] = {}

    def run(key: Array) -> int:
        for name, site in handlers.trace(handlers.seed(program, key)).get_trace().items():
            if site["type"] == "sample":
                found[name] = bool(site["is_observed"])
        return 0

    jax.eval_shape(run, jax.random.key(0))
    latent = tuple(name for name, observed in found.items() if not observed)
    return latent, tuple(name for name, observed in found.items() if observed)


def log_observed(program: Program, values: Mapping[str, Array]) -> Array:
    """() log density of what a vetted program has observed, given the values of its other sites."""
    given = handlers.seed(handlers.substitute(program, data=dict(values)), jax.random.key(0))
    total = jnp.zeros(())
    for site in handlers.trace(given).get_trace().values():
        if site["type"] == "sample" and site["is_observed"]:
            scale = 1.0 if site["scale"] is None else site["scale"]
            total = total + jnp.sum(scale * site["fn"].log_prob(site["value"]))
    return total


def parameter(name: str, value: Any) -> Any:
    """One entry of a mapping of priors: a numpyro distribution, or the array of a fixed value.

    Raises:
        ValueError: neither; the message says what it is.
    """
    if isinstance(value, dist.Distribution):
        if _certain(value):
            return value.sample(jax.random.key(0))
        check_distribution(name, value)
        return value
    if isinstance(value, jax.core.Tracer):
        return value
    wants = "give a numpyro distribution such as numpyro.distributions.Normal(0.0, 1.0), or a number for a fixed value"
    if value is None:
        raise ValueError(f"the prior of {name!r} is None: {wants}, or leave it out where the library has a default.")
    if isinstance(value, type):
        raise ValueError(f"the prior of {name!r} is the class {value.__name__}: write {value.__name__}(...).")
    if hasattr(value, "rvs"):
        raise ValueError(f"the prior of {name!r} is a distribution of scipy: {wants}.")
    try:
        number = np.asarray(value)
    except ValueError:  # a ragged list
        number = np.asarray(None)
    if number.dtype.kind not in "fiu" or np.ma.is_masked(value) or not np.isfinite(number).all():
        raise ValueError(f"the prior of {name!r} is {value!r}: {wants}.")
    return jnp.asarray(value)
