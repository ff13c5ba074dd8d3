"""The words that settings may use for kernels and distributions, and limits that our own signatures do not say."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpyro.distributions as dist

from gpax_lab import kernels
from gpax_lab.kernels import KernelLike
from gpax_lab.settings._check import Check, number, whole

KERNELS: Mapping[str, KernelLike] = {
    "rbf": kernels.rbf,
    "matern12": kernels.matern12,
    "matern32": kernels.matern32,
    "matern52": kernels.matern52,
    "rational_quadratic": kernels.rational_quadratic,
    "periodic": kernels.periodic,
    "linear": kernels.linear,
    "mixing": kernels.mixing,
}


class Named(NamedTuple):
    """A distribution and the limits of its arguments."""

    make: Callable[..., dist.Distribution]
    arguments: Mapping[str, Check]


POSITIVE = number(0.0, above=True)

DISTRIBUTIONS: Mapping[str, Named] = {  # kernel and noise parameters are positive, so only these
    "LogNormal": Named(dist.LogNormal, {"loc": number(), "scale": POSITIVE}),
    "HalfNormal": Named(dist.HalfNormal, {"scale": POSITIVE}),
    "Gamma": Named(dist.Gamma, {"concentration": POSITIVE, "rate": POSITIVE}),
    "InverseGamma": Named(dist.InverseGamma, {"concentration": POSITIVE, "rate": POSITIVE}),
    "Exponential": Named(dist.Exponential, {"rate": POSITIVE}),
    "Uniform": Named(dist.Uniform, {"low": number(0.0), "high": POSITIVE}),
}

ANY_SIGN: Mapping[str, Named] = {  # parameters of laws
    "Normal": Named(dist.Normal, {"loc": number(), "scale": POSITIVE}),
    **DISTRIBUTIONS,
    "Uniform": Named(dist.Uniform, {"low": number(), "high": number()}),
}

_COUNT = whole(1)
_SHARE = number(0.01, 0.99)

CHECKS: Mapping[tuple[str, str], Mapping[str, Check]] = {
    ("samplers", "nuts"): {
        "num_warmup": whole(10), "num_samples": whole(8), "num_chains": _COUNT, "thin_to": _COUNT, "rewarm": whole(0),
        "target_accept": number(0.1, 0.999), "max_tree_depth": whole(1, 15), "max_r_hat": number(1.0),
        "min_ess": number(0.0),
    },
    ("samplers", "smc"): {
        "num_samples": whole(8), "max_stages": _COUNT, "max_moves": _COUNT, "max_leapfrog": _COUNT,
        "max_correlation": _SHARE, "target_accept": _SHARE,
    },
    ("samplers", "laplace"): {"num_samples": _COUNT, "starts": _COUNT, "iterations": _COUNT, "rounds": whole(0)},
    ("samplers", "ensemble"): {
        "members": _COUNT, "num_steps": _COUNT, "num_update_steps": _COUNT, "learning_rate": POSITIVE, "every": _COUNT,
        "patience": _COUNT,
    },
    ("acquisitions", "ucb"): {"beta": number(0.0)},
    ("acquisitions", "log_ei"): {"xi": number(0.0)},
    ("acquisitions", "log_pi"): {"xi": number(0.0)},
    ("axes", ""): {"max_step": POSITIVE, "settle_s": number(0.0), "tolerance": POSITIVE},
}  # fmt: skip
"""Limits of options whose type says less, by group and name of the plug-in; ("axes", "") are those of any axis."""

DEFAULTS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("samplers", "nuts"): {"num_warmup": 200, "num_samples": 200},  # a campaign fits often
}
"""Where a campaign takes another value than the function by itself."""
