"""The log evidence of streaming inference against quadrature, and against bridge sampling where that is too many axes.

One parameter: a line through 0 with known noise. Two: the same with unknown noise. Six: a first-order transition with
unknown noise (`physics.transitions`), whose reference is bridge sampling (Meng & Wong 1996, Statistica Sinica 6, 831)
between a long run of NUTS and a normal density fitted to half of it. Observations come one by one; the mean over keys
counts, beside the scatter over keys and the error that each run states of itself.
"""

import argparse

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402
from numpyro import handlers  # noqa: E402
from numpyro.infer.util import unconstrain_fn  # noqa: E402
from scipy import integrate, stats  # noqa: E402
from scipy.special import logsumexp  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import means, nuts, observations, parametric, smc  # noqa: E402
from gpax_lab.core._observations import assimilate  # noqa: E402
from gpax_lab.inference._density import unconstrained_density  # noqa: E402
from gpax_lab.laws import transitions  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

NOISE = 0.3
SLOPE = means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 2.0)}, {"k": "y / x"}, "m = k x", "line")
ONE = parametric(1, SLOPE, dict(SLOPE.prior) | {"noise": NOISE**2}, standardize=False)
TWO = parametric(1, SLOPE, dict(SLOPE.prior) | {"noise": dist.LogNormal(-2.0, 1.0)}, standardize=False)
X = np.linspace(0.1, 1.0, 10)[:, None]
Y = 1.5 * X[:, 0] + NOISE * np.random.default_rng(0).standard_normal(10)
JUMP = transitions.first_order((0.0, 0.2), (0.0, 1.0))
SIX = parametric(1, JUMP, JUMP.prior, standardize=(0.0, 1.0))
SPREAD = np.linspace(0.0, 0.2, 16)[:, None]
TRUTH = {"S0": 1.0, "x0": 0.14, "xc": 0.11, "C0": 0.1, "C1": 0.0}
STEPS = np.array([float(JUMP(jnp.asarray(x), TRUTH)) for x in SPREAD]) + 0.05 * np.random.default_rng(
    1
).standard_normal(16)


def by_quadrature_of_two():
    """log of the integral over slope and noise."""

    def density(log_noise, k):
        sd = np.exp(0.5 * log_noise)
        fit = stats.norm(k * X[:, 0], sd).logpdf(Y).sum()
        return np.exp(fit + stats.norm(0, 2).logpdf(k) + stats.norm(-2, 1).logpdf(log_noise) + 10.0)

    return np.log(integrate.dblquad(density, 0.0, 3.0, -6.0, 2.0, epsabs=1e-10)[0]) - 10.0


def by_bridge(model, obs, draws):
    """Log evidence by bridge sampling from a long run, and its scatter between the halves of the run swapped."""
    space = unconstrained_density(model, jnp.float64)
    long = nuts(2000, draws, thin_to=None, target_accept=0.95).init(jax.random.key(5), model, obs)

    @jax.jit
    @jax.vmap
    def free(params):
        return ravel_pytree(unconstrain_fn(handlers.seed(model.prior, jax.random.key(0)), (), {}, params))[0]

    log_p = jax.jit(lambda z: -jax.lax.map(lambda one: space.potential(one, obs), z))
    z = np.asarray(free(long.params))
    found = []
    for fit, use in ((z[::2], z[1::2]), (z[1::2], z[::2])):
        normal = stats.multivariate_normal(fit.mean(axis=0), 1.5 * np.cov(fit.T))
        other = normal.rvs(len(use), random_state=np.random.default_rng(0))
        ours, theirs = (np.asarray(log_p(jnp.asarray(a))) - normal.logpdf(a) for a in (use, other))
        value = 0.0
        for _ in range(200):  # the fixed point of Meng & Wong, eq. 4.1, for equal numbers of draws
            top = logsumexp(theirs - np.logaddexp(theirs, value))
            value += top - logsumexp(-np.logaddexp(ours, value)) - value
        found.append(value)
    return float(np.mean(found)), float(abs(found[0] - found[1])), long


def streamed(model, x, y, draws, keys):
    """(keys,) log evidence after all observations, taken in one by one, and the error each run states."""
    sampler, found = smc(draws), []
    for key in range(keys):
        obs = observations(x[:1], y[:1], capacity=16)
        posterior = sampler.init(jax.random.key(key), model, obs)
        for i in range(1, len(x)):
            obs = assimilate(obs, jnp.asarray(x[i]), jnp.asarray(y[i]), jnp.zeros(()))
            posterior = sampler.update(jax.random.fold_in(jax.random.key(key), i), posterior, obs)
        found.append((float(posterior.log_evidence), float(posterior.info.evidence_error)))
    return np.array(found).T


def judge(report, name, model, x, y, exact, options, doubt=0.0, limit=0.05):
    """Report the mean over keys against the reference."""
    value, stated = streamed(model, x, y, options.draws, options.keys)
    error = value.std(ddof=1) / np.sqrt(len(value))
    report.result(f"{name}: log evidence, mean over keys", value.mean(), "nat", exact)
    report.result("above the reference", value.mean() - exact, "nat")
    report.result("its standard error over keys", error, "nat")
    scatter, told = value.std(ddof=1), float(np.sqrt(np.mean(stated**2)))
    report.result("scatter over keys, against the error that a run states", scatter, "nat", told)
    close = abs(value.mean() - exact) < limit + 3 * error + 3 * doubt
    report.claim(f"{name}: within {limit} nat and three standard errors", close)
    report.claim(f"{name}: a run states its error within a factor of two", 0.5 < scatter / told < 2.0)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="512 draws, 6 keys, no model of six parameters")
    parser.add_argument("--draws", type=int, default=1024)
    parser.add_argument("--keys", type=int, default=10)
    options = parser.parse_args()
    if options.quick:
        options.draws, options.keys = 512, 6
    report = Report()
    covariance = 4.0 * X @ X.T + NOISE**2 * np.eye(len(X))
    judge(
        report, "one parameter", ONE, X, Y, stats.multivariate_normal(np.zeros(len(X)), covariance).logpdf(Y), options
    )
    judge(report, "two parameters", TWO, X, Y, by_quadrature_of_two(), options)
    if not options.quick:
        obs = observations(SPREAD, STEPS, capacity=16)
        exact, doubt, long = by_bridge(SIX, obs, 20000)
        report.result("six parameters: bridge sampling, difference of its halves", doubt, "nat")
        report.result("six parameters: R-hat of the long run", float(long.info.r_hat), "1", 1.0)
        judge(report, "six parameters", SIX, SPREAD, STEPS, exact, options, doubt)
    report.finish()


if __name__ == "__main__":
    main()
