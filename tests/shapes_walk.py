"""Uses the public faces with every annotation checked at every call: shapes by jaxtyping, types by beartype.

python tests/shapes_walk.py             the main calls, or those of the parts that are named
python tests/shapes_walk.py --examples  the examples of all docstrings
"""

import doctest
import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "instruments")]

strict = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for other type checkers


def checker(function):
    """Checked, unless it returns `Self`, which beartype knows in classes only and jaxtyping decorates by function."""
    try:
        return strict(function)
    except BeartypeDecorHintPep673Exception:
        return function


hook = install_import_hook(["gpax_lab", "gpax_instruments"], f"{Path(__file__).stem}.checker")
sys.modules[Path(__file__).stem] = sys.modules[__name__]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(0)


def observed(capacity=8):
    x = np.linspace(0.0, 1.0, 5)[:, None]
    return gpax_lab.observations(x, np.sin(5 * x[:, 0]), capacity=capacity)


def posteriors():
    from gpax_lab import gp, laplace, nuts, parametric, smc
    from gpax_lab.inference import coverage, intervals, recalibration

    x = jnp.linspace(0.0, 1.0, 4)[:, None]
    samplers = [
        laplace(4, starts=2, iterations=5),
        smc(8, max_stages=3, max_moves=2, max_leapfrog=3),
        nuts(10, 10, max_tree_depth=3),
    ]
    obs = observed()
    for sampler in samplers:
        posterior = sampler.init(KEY, gp.exact(1), obs)
        posterior.moments(x), posterior.predict(x), posterior.joint(0, x)
        posterior.paths(obs, KEY, x, 2), posterior.noise_variance(x), posterior.leave_one_out(obs)
        coverage(posterior, obs), recalibration(posterior, obs), intervals(posterior, obs, x)
        sampler.update(KEY, posterior, obs)
    import numpyro.distributions as dist

    line = parametric(1, mean=lambda x, p: p["slope"] * x[0], prior={"slope": dist.Normal(0.0, 1.0)})
    samplers[0].init(KEY, line, obs)


def kernels():
    from gpax_lab import gp, kernels, laplace

    mixed = kernels.rbf + kernels.scope("fast", kernels.periodic) * kernels.matern52
    laplace(4, starts=2, iterations=5).init(KEY, gp.exact(1, mixed), observed())
    points = jnp.linspace(0.0, 1.0, 3)[:, None]
    params = {"lengthscale": jnp.array(0.3), "variance": jnp.array(1.0)}
    jax.vmap(lambda x: jax.vmap(lambda z: kernels.rbf(x, z, params))(points))(points)


def campaigns():
    from gpax_lab import acquisition, bayes_opt, gp, laplace

    sampler = laplace(4, starts=2, iterations=5)
    grid, box = acquisition.grid([[0.0, 1.0]], (11,)), acquisition.box([[0.0, 1.0]], 16, 2, 3)
    for score, domain in [
        (acquisition.seek(), grid),
        (acquisition.log_ei() + acquisition.distance_penalty(0.1), box),
        (acquisition.thompson(), grid),
        (lambda mean, std: mean + std, grid),
    ]:
        experiment = bayes_opt(gp.exact(1), sampler, score, domain)
        state, x = experiment.propose(experiment.init(KEY, observed()))
        experiment.observe(state, x, jnp.ones(len(x)))


def hypotheses():
    import numpyro.distributions as dist

    from gpax_lab import comparison_report, formula, hypotheses, model_average, smc

    laws = {
        "line": formula("a * x", {"a": dist.Normal(0.0, 1.0)}, inputs=["x"]),
        "wave": formula("a * sin(x)", {"a": dist.Normal(0.0, 1.0)}, inputs=["x"]),
    }
    sampler = model_average(smc(8, max_stages=3, max_moves=2, max_leapfrog=3))
    posterior = sampler.init(KEY, hypotheses(laws, bounds=[[0.0, 1.0]], scale=(0.0, 1.0)), observed())
    str(comparison_report(posterior, observed()))


def spectra_and_images():
    from gpax_lab import images, simulators
    from gpax_lab.simulators import diffraction
    from gpax_lab.spectra import eels, forc, loops, peaks, sho, stem4d, sts
    from gpax_lab.storage import Dataset, axis

    bias = loops.triangle(8.0, 32)
    loop = loops.loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -1.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
    rows = jnp.stack([loop, 2 * loop]) + 0.05 * jax.random.normal(KEY, (2, 32))
    fit = loops.loop_fit(bias, rows)
    loops.scalars_of_fit(fit, bias), loops.loop_area(bias, rows), loops.despike(rows), loops.remanence(bias, loop)
    loops.loop_scalarizer("area").evaluate(Dataset(np.asarray(loop), (axis("bias", np.asarray(bias), "V"),), unit="pm"))
    forc.loop_family(*forc.split_cycles(jnp.concatenate([bias, 0.5 * bias]), jnp.concatenate([loop, loop]), 2))
    band = jnp.linspace(320e3, 380e3, 32)
    sho.sho_fit(band, simulators.be_spectrum(KEY, band, 1.0, 350e3, 80.0, 0.3, 0.1))
    energy = np.arange(300.0, 500.0, 2.0)
    counts = np.stack([1e3 * (energy / 400.0) ** -3.0 + 200.0 * (energy > 440.0)] * 2)
    eels.edge(energy, counts, (320.0, 430.0), (440.0, 480.0)), peaks.align(counts[0], counts)
    peaks.fit_peak(energy, counts, (400.0, 480.0), shape="lorentzian")
    volts = np.linspace(-1.0, 1.0, 41)
    slope, _ = sts.derivative(volts, np.maximum(np.abs(volts) - 0.4, 0.0) ** 2 * np.sign(volts))
    sts.gap(volts, slope, 0.1, 0.01), sts.normalized_conductance(volts, slope, slope, 0.2)
    image = simulators.be_sample(KEY, 32).image
    images.register(image, jnp.roll(image, 1, axis=0)), images.walls(image), images.blob_scale(image, (1.0, 2.0))
    images.peaks(images.corners(image), 8), images.plane(image), images.flatten(image), images.normalized(image)
    cut = images.patches(image, images.pixel_positions(image.shape, 4), 8)
    images.scores(images.principal(cut, 3), cut), images.fourier_magnitude(cut, radial=True)
    images.domain_radius(simulators.domain_image(KEY, 3.0, 16, 1.0, 0.8, 0.05, 0.1, 0.02), 1.0)
    probe = diffraction.probe(32, 1.0)
    potential = diffraction.perovskite(2, 32, 0.5, jnp.zeros(2))
    patterns = diffraction.scan(probe, potential, jnp.zeros((4, 2)))
    field = stem4d.projected_field(stem4d.centre_of_mass(patterns).value.reshape(2, 2, 2), 1.0, 4e-3, 7e-3)
    stem4d.potential(field, (0.1, 0.1)), stem4d.charge(field, (0.1, 0.1)), stem4d.align_detector(field)


def processes():
    import numpyro.distributions as dist

    from gpax_lab import gp, kernels, means, models, parametric, priors, sparse
    from gpax_lab.models import HeteroscedasticNoise, StudentNoise

    obs, x = observed(), jnp.linspace(0.0, 1.0, 3)[:, None]
    both = gpax_lab.observations(np.asarray(obs.x)[:5], np.random.default_rng(0).normal(size=(5, 2)), capacity=8)
    rates = {name: dist.Normal(0.0, 1.0) for name in "Aab"}
    for model in [
        gp.exact(1, kernels.active([0], kernels.linear) + kernels.rational_quadratic),
        gp.exact(1, noise=HeteroscedasticNoise()),
        gp.exact(1, noise=StudentNoise(capacity=8)),
        gp.exact(1, uncertain_inputs=8),
        sparse(1, inducing=4),
        parametric(1, means.growing_oscillation, rates),
        models.multi_output(gp.exact(1), 2),
    ]:
        data, params = obs if model.outputs == 1 else both, priors.sample(KEY, model.prior)
        model.check(data), model.log_likelihood(params, data), model.leave_one_out(params, data)
        factor = model.condition_on_pending(params, model.condition(params, data), data)
        model.predict(params, factor, x), model.noise_variance(params, factor, x)
        if model.outputs == 1:
            model.joint(params, factor, x), model.paths(params, factor, data, KEY, 2, x)
    models.inducing_points(np.asarray(x), 2)
    basis = models.SpectralBasis.of(np.random.default_rng(0).normal(size=(6, 5)), 2)
    basis.spectra(basis.coefficients(jnp.ones((3, 5))), jnp.ones((3, 2)))
    law = means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 1.0)}, {"k": "y / x"}, "m = k x", "Hooke")
    law.draw(KEY, np.asarray(x), 2)


def networks():
    from gpax_lab import deep_kernel, images, nn
    from gpax_lab.inference import ensemble

    image = jax.random.normal(KEY, (12, 12))
    points = np.asarray(images.pixel_positions(image.shape), float)[::13]
    look = images.around(image, 3)
    seen = np.asarray(look(jnp.asarray(points)))
    obs = gpax_lab.observations(points[:6], np.sin(np.arange(6)), capacity=8)
    trained = nn.autoencoder(KEY, nn.mlp((3, 3), 2, (4,)), seen, 10, 4)
    nn.principal_components(seen, 2)
    for encoder in (
        nn.rotation_pooled(nn.convolutional((3, 3), 2, (2,), 4)),
        nn.linear(jnp.ones((2, 9)) / 9.0, shape=(3, 3)),
        nn.last_layer(trained.network, trained.weights),
    ):
        model = deep_kernel(encoder, look, bounds=np.array([[0.0, 11.0]] * 2), positions=True)
        posterior = ensemble(2, 4, 2, every=2).init(KEY, model, obs)
        posterior.predict(jnp.asarray(points)), posterior.leave_one_out(obs)
    nn.im2spec(KEY, seen, np.random.default_rng(0).normal(size=(len(seen), 5)), nn.mlp((3, 3), 2, (4,)), (4,), 2, 10)


def autoencoders():
    from gpax_lab import vae

    images = jax.random.uniform(KEY, (12, 8, 8))
    posed = [vae.rotation(), vae.translation(0.1), vae.scaling(0.1)]
    model = vae.model((8, 8), 2, classes=2, invariances=posed, encoder=vae.ConvNet((2,), 4))
    data = vae.examples(images)
    trained = vae.train(KEY, model, data, 1, 6, held_out=data, weights=vae.annealed(3), progress=False)
    seen = vae.encode(trained, images)
    vae.reconstruct(trained, images), vae.predict(trained, KEY, images, num_samples=2)
    vae.anomaly(trained, KEY, images, num_samples=2), vae.decode(trained, np.zeros((2, 2)), classes=1)
    vae.manifold(trained, 2), vae.traversal(trained, 0, 3), vae.encode_windows(trained, np.zeros((10, 11)))
    vae.elbo(model, trained.params, KEY, data), vae.importance_elbo(model, trained.params, KEY, data, 2)
    vae.mean_elbo(model, trained.params, KEY, data, 5), vae.unit_range(images)
    vae.circular_correlation(seen.pose.angle, seen.pose.angle), vae.angle_error(seen.pose.angle, seen.pose.angle)
    vae.shift_correlation(seen.pose.shift, seen.pose.shift, seen.pose.angle), vae.explained(seen.content, np.ones(12))


def examples():
    """Every docstring example of every module, private ones included, under the rules of the test suite."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry")  # another process writes it
    jax.config.update("jax_numpy_rank_promotion", "raise")
    failed = attempted = 0
    for package in ("gpax_lab", "gpax_instruments"):
        root = importlib.import_module(package)
        names = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
        for name in (package, *(name for name in names if not name.endswith("__main__"))):
            done = doctest.testmod(importlib.import_module(name))
            failed, attempted = failed + done.failed, attempted + done.attempted
    assert attempted > 100, f"only {attempted} examples were found"
    return failed


PARTS = (posteriors, kernels, campaigns, hypotheses, spectra_and_images, processes, networks, autoencoders)

if __name__ == "__main__":
    if "--examples" in sys.argv:
        sys.exit(examples())
    for part in PARTS:
        if part.__name__ in sys.argv[1:] or not sys.argv[1:]:
            part()
            print(f"{part.__name__}: as annotated")
