"""Variational autoencoders: bounds, parts, likelihoods, waves, use; encoder-decoders; grids with holes."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from table import FEW, Row, row

from gpax_lab import kernels, vae
from gpax_lab.models import _grid_blocks as grid_blocks
from gpax_lab.models import _grid_moments as grid_moments
from gpax_lab.models import _kronecker as kronecker
from gpax_lab.models import gridded
from gpax_lab.nn import _fourier as waves
from gpax_lab.vae import _elbo as bounds
from gpax_lab.vae import _metrics as checks
from gpax_lab.vae import _parts as parts
from gpax_lab.vae import _training as training
from gpax_lab.vae._inference import anomaly, decode, encode, predict, reconstruct
from gpax_lab.vae._latent_maps import manifold, traversal
from rows.inference import KEY

SHORT = ("jit", "vmap", "grad")
CODED = "vae._model.VAE.decode vae._model.VAE.code"
PICTURES = np.random.default_rng(9).uniform(0.1, 0.9, size=(3, 6, 6))


@cache
def posed():
    """A model that knows of classes, turns and shifts, with parameters in float64."""
    model = vae.model(
        (6, 6),
        1,
        classes=2,
        invariances=[vae.rotation("normal", 0.5), vae.translation(0.1), vae.scaling(0.1)],
        likelihood=vae.gaussian(),
        encoder=vae.MLP((5,)),
        decoder=vae.FourierDecoder((6, 6), (1.5, 1.5), widths=(4,)),
    )
    return model, model.init(KEY, jnp.float64)


@cache
def plain():
    """A model of spectra with a property."""
    model = vae.model(8, 2, properties=1, likelihood=vae.continuous_bernoulli(), encoder=vae.MLP((4,)))
    return model, model.init(KEY, jnp.float64)


def of_pictures():
    return vae.examples(PICTURES, label=np.asarray([0, -1, 1]), dtype=jnp.float64)


def of_spectra():
    return vae.examples(PICTURES.reshape(-1, 12)[:3, :8], properties=np.asarray([0.2, np.nan, -1.0]), dtype=jnp.float64)


def trained():
    model, params = posed()
    terms = bounds.ELBOTerms(*[np.zeros(1)] * 7)
    return vae.Trained(model, params, vae.History(terms, np.zeros(1)), "finished")


def bounded() -> list[Row]:
    def put(name, function, make, data=of_pictures, contexts=("jit", "grad"), **rest):
        return row(f"vae.{name}", lambda: (function, (make()[1], KEY, data())), contexts=contexts, **rest)

    def seen(params, key, data):
        model = posed()[0]
        found = bounds.encoder_output(model, params, data.x, data.condition)
        known = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), (3, 1, 1, 2))
        return found, found.log_class, bounds.split(model, params, found.features[:, :, None], known)

    def used(function):
        return lambda x, params: function(trained()._replace(params=params), x)

    def turned(name, function, first=None, contexts=("jit",), **rest):
        def make():
            return used(function), (of_pictures() if first is None else first, posed()[1])

        return row(f"vae.{name}", make, contexts=contexts, **rest)

    content = np.asarray([[0.3], [-0.4]])
    return [
        put("_elbo.elbo vae._model.VAE.latents", lambda p, k, d: vae.elbo(posed()[0], p, k, d), posed),
        put("_elbo.elbo", lambda p, k, d: vae.elbo(plain()[0], p, k, d), plain, of_spectra, note="with a property"),
        put("_elbo.importance_elbo", lambda p, k, d: vae.importance_elbo(posed()[0], p, k, d, 3), posed),
        put("_elbo.encoder_output vae._elbo.EncoderOutput.log_class vae._elbo.split", seen, posed, contexts=FEW),
        put(
            "_training.mean_elbo", lambda p, k, d: training.mean_elbo(posed()[0], p, k, d, 2), posed, contexts=("jit",)
        ),
        turned("_inference.encode", lambda t, x: encode(t, x)),
        turned(
            "_inference.decode vae._model.VAE.decode vae._model.VAE.code", lambda t, z: decode(t, z), content, SHORT
        ),
        turned("_inference.reconstruct", lambda t, x: reconstruct(t, x)),
        turned("_inference.predict", lambda t, x: predict(t, KEY, x, num_samples=2)),
        turned("_latent_maps.traversal", lambda t, z: traversal(t, 0, 3, z[0]), content),
        turned("_latent_maps.manifold", lambda t, z: manifold(t, 2, (0, 0), over=z), content),
        turned("_inference.anomaly", lambda t, x: anomaly(t, KEY, x, num_samples=2)),
    ]


def pieces() -> list[Row]:
    raw = np.asarray([[0.3, -0.2, 0.5, 0.1], [1.2, 0.4, -0.3, -1.0]])
    shift, turn = vae.translation(0.2), vae.rotation("uniform")

    def of_part(part, width):
        def values(raw):
            mean, sd = part.posterior(raw[:, :width])
            return mean, sd, part.kl(mean, sd), part.log_prior(mean), part.log_posterior(mean + 0.1, mean, sd)

        return values

    def log_probs(x):
        kinds = vae.bernoulli(), vae.continuous_bernoulli(), vae.gaussian()
        return [(kind.log_prob(jax.nn.sigmoid(x), x, 0.1 * x[0, 0]), kind.mean(x)) for kind in kinds]

    def draws(key):
        return shift.draw(key, (3,), np.dtype(float)), turn.draw(key, (3,), np.dtype(float))

    lattice = waves.Lattice(
        waves.wave_vectors((1.5, 1.5), 0.8), (1.5, 1.5), (np.linspace(-1, 1, 4), np.linspace(-1, 1, 5))
    )
    line = waves.Lattice(waves.wave_vectors((1.5,), 0.4), (1.5,), (np.linspace(-1, 1, 6),))
    coefficients = np.random.default_rng(1).normal(size=(2, 2 * lattice.count))
    matrix = np.asarray([[[0.9, 0.2], [-0.3, 1.1]], [[1.0, 0.0], [0.1, 0.8]]])
    angle, other = np.asarray([0.1, 1.2, 2.0, -0.4]), np.asarray([0.3, 1.0, 2.2, -0.1])

    def put(name, function, first, *rest, contexts=SHORT, core=()):
        full = name if name.startswith("nn.") else f"vae.{name}"
        return row(full, lambda: (function, (first, *rest)), contexts=contexts, core=core)

    names = "posterior", "kl", "log_prior", "log_posterior"
    return [
        put(" vae.".join(f"_parts.Gaussian.{n}" for n in names), of_part(shift, 4), raw),
        put(" vae.".join(f"_parts.Angle.{n}" for n in names), of_part(turn, 3), raw),
        put("_parts.Gaussian.draw vae._parts.Angle.draw", draws, KEY, contexts=("jit", "vmap")),
        put("_parts.wrapped_entropy", parts.wrapped_entropy, np.asarray([0.05, 0.7, 4.0])),
        put(
            "_likelihoods.bernoulli vae._likelihoods.continuous_bernoulli vae._likelihoods.gaussian",
            log_probs,
            raw,
            core=("grad",),
        ),
        put(
            "nn._fourier.wave_image",
            lambda w, m: waves.wave_image(lattice, w, m, jnp.asarray([[0.1, 0.2], [0.0, -0.1]])),
            coefficients,
            matrix,
        ),
        put(
            "nn._fourier.wave_spectrum",
            lambda w: waves.wave_spectrum(line, w[:, : 2 * line.count], jnp.ones(2), jnp.zeros(2)),
            coefficients,
        ),
        put("_metrics.circular_correlation", lambda a: checks.circular_correlation(a, other), angle),
        put("_metrics.angle_error", lambda a: checks.angle_error(a, other), angle),
        put(
            "_metrics.shift_correlation",
            lambda a: checks.shift_correlation(a, jnp.asarray(raw.T)),
            raw.T + 0.1 * raw.T**2,
            contexts=("jit",),
        ),
        put(
            "_metrics.explained",
            lambda a: checks.explained(a, jnp.asarray(raw.T)),
            raw.T[:, :1] ** 2,
            contexts=("jit",),
        ),
    ]


def grids() -> list[Row]:
    """Kronecker algebra and processes on a grid with holes."""
    shape = 5, 4
    measured = np.random.default_rng(0).random(shape) < 0.6
    y = np.where(measured, np.random.default_rng(1).normal(size=shape), 0.0)
    grid = gridded.process((kernels.matern52, kernels.matern32))
    params = {"variance": 1.3, "noise": 0.05, "axis0/lengthscale": [0.4], "axis1/lengthscale": [0.7]}
    params = {name: np.asarray(value) for name, value in params.items()}
    blocks = grid_blocks.blocks_of(y, measured, np.random.default_rng(2))
    few = 1e-6, 6
    pixel, read = np.argwhere(measured)[:8].astype(np.int32), y[measured][:8]
    axes = [jnp.asarray(grid_blocks.unit_axis(n)) for n in shape]

    def put(name, use, contexts=("jit",), tolerance=1e-6, **rest):
        def function(params, y):
            return use(grid_moments.condition(grid, params, jnp.asarray(measured), 4), y)

        return row(f"models.{name}", lambda: (function, (params, y)), contexts=contexts, tolerance=tolerance, **rest)

    def products(system, y):
        c = kronecker.analyse(system, y[None])
        back = kronecker.synthesise(system, c), kronecker.normal_product(system, c), kronecker.precondition(system, c)
        return c * c, [b**2 for b in back]

    pair = np.random.default_rng(3).normal(size=(2, 3))
    algebra = "analyse", "synthesise", "normal_product", "precondition"
    names = " models.".join(f"_kronecker.{name}" for name in algebra)
    return [
        row(
            "models._kronecker_gp.process models._kronecker_gp.KroneckerGP.log_likelihood",
            lambda: (grid.log_likelihood, (params, blocks)),
            contexts=("jit", "vmap", "grad", "branch"),
            core=("jit",),
        ),
        row(
            " ".join(
                f"models._kronecker_gp.{name}" for name in ("KroneckerGP.rows", "KroneckerGP.grams", "from_tables")
            ),
            lambda: (lambda p: (grid.grams(p, shape), grid.rows(p, [jnp.linspace(0, 1, 3)] * 2)), (params,)),
            contexts=SHORT,
        ),
        put(
            "_grid_moments.mean models._grid_moments.condition models._kronecker.solve models._kronecker.prepare",
            lambda s, y: grid_moments.mean(s, y, *few)[0],
        ),
        put("_grid_moments.paths", lambda s, y: grid_moments.paths(s, y, KEY, 2, *few)[0]),
        row(
            "models._grid_moments.direct",
            lambda: (
                lambda p, y, used: grid_moments.direct(grid, p, y, pixel, used, axes)[:2],
                (params, read, np.arange(8) < 7),
            ),
            contexts=("jit", "vmap"),
        ),
        put("_grid_moments.moments", lambda s, y: grid_moments.moments(s, y, KEY, 2, *few)[:2]),
        put(names, products),
        row(
            "models._kronecker.along_axes",
            lambda: (lambda a: kronecker.along_axes([a, a[:, :2] + 1.0], jnp.ones((1, 3, 2))), (pair,)),
            contexts=SHORT,
        ),
        row("models._kronecker.outer", lambda: (lambda a: kronecker.outer([a[0], a[1]]), (pair,)), contexts=SHORT),
    ]


ROWS = [*bounded(), *pieces(), *grids()]
