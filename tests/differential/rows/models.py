"""Models: each kernel, mean, noise and place of measurements, seen through every function of a model."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from table import EVERYWHERE, FEW, Row, row

from gpax_lab import deep_kernel, gp, kernels, parametric, priors, sparse
from gpax_lab.core._observations import Observations, add_pending, observations
from gpax_lab.models import (
    DeepKernelGP,
    ExactGP,
    HeteroscedasticNoise,
    MultiOutput,
    Parametric,
    SparseGP,
    SpectralBasis,
    multi_output,
)
from gpax_lab.models import _conditioning as conditioning
from gpax_lab.models._deep_kernel import embed
from gpax_lab.models._mixture import over_compositions
from gpax_lab.models._model import Model
from gpax_lab.models._noise import StudentNoise
from gpax_lab.models._scaling import measured_inputs, standardisation
from gpax_lab.nn import _encoders as encoders
from gpax_lab.nn._encoders import mlp

LOW, WIDTH = 300.0, 60.0


def readings(dim: int, capacity: int, dtype: type = np.float64, outputs: int = 0, tasks: int = 0) -> Observations:
    """Half the slots and one measured, two pending, the others empty."""
    rng, count = np.random.default_rng(dim + capacity), capacity // 2 + 1
    x = LOW + WIDTH * rng.random((count, dim))
    y = np.sin(x[:, 0] / 9) + 0.1 * rng.normal(size=count)
    if tasks:
        x[:, -1] = np.arange(count) % tasks
    if outputs:
        y = np.stack([y * (k + 1) + np.cos(k * x[:, 0]) for k in range(outputs)], axis=1)
    obs = observations(x, y, rng.uniform(0.01, 0.02, count), capacity, dtype)
    for _ in range(2):
        point = LOW + WIDTH * rng.random(dim)
        if tasks:
            point[-1] = 0
        obs = add_pending(obs, jnp.asarray(point, dtype))
    return obs


def places(dim: int, dtype: type = np.float64, tasks: int = 0) -> jax.Array:
    x = LOW + WIDTH * np.random.default_rng(7).random((5, dim))
    if tasks:
        x[:, -1] = np.arange(5) % tasks
    return jnp.asarray(x, dtype)


def params_of(model: Model, dtype: type = np.float64) -> dict[str, jax.Array]:
    return {name: jnp.asarray(v, dtype) for name, v in priors.sample(jax.random.key(1), model.prior).items()}


def view(name: str, model: Model, obs: Observations, x: jax.Array):
    """A function of a model, composed with `condition` where it needs a factor, and its arguments."""
    key = jax.random.key(5)

    def conditioned(use):
        return lambda p, o, *rest: use(p, model.condition(p, o), o, *rest)

    whole = {
        "log_likelihood": model.log_likelihood,
        "condition": model.condition,
        "leave_one_out": lambda p, o: tuple(jnp.where(o.measured, part.T, 0.0) for part in model.leave_one_out(p, o)),
        "condition_on_pending": conditioned(lambda p, f, o: model.condition_on_pending(p, f, o)),
        "predict": conditioned(lambda p, f, o, x: model.predict(p, f, x)),
        "joint": conditioned(lambda p, f, o, x: model.joint(p, f, x)),
        "noise_variance": conditioned(lambda p, f, o, x: model.noise_variance(p, f, x)),
        "paths": conditioned(lambda p, f, o, x, key: model.paths(p, f, o, key, 2, x)),
        "shrink predict": conditioned(lambda p, f, o, x: model.predict(p, model.condition_on_pending(p, f, o), x)),
    }[name]
    needs_places = {"predict": (x,), "joint": (x,), "noise_variance": (x,), "shrink predict": (x,), "paths": (x, key)}
    return whole, (params_of(model, obs.y.dtype), obs, *needs_places.get(name, ()))


SCALED = kernels.scope("a", kernels.matern52), kernels.scope("b", kernels.rbf)
KERNELS = {
    "matern52": kernels.matern52,
    "matern32": kernels.matern32,
    "matern12": kernels.matern12,
    "rbf": kernels.rbf,
    "rational_quadratic": kernels.rational_quadratic,
    "periodic": kernels.periodic,
    "linear": kernels.linear,
    "add": kernels.add(*SCALED),
    "multiply": kernels.multiply(SCALED[0], kernels.scope("b", kernels.periodic)),
}
COVERED = (
    "models.gp.exact models._transform.data_transform models._transform.DataTransform.parts "
    "models._transform.DataTransform.unit "
)
BOX = [[LOW, LOW + WIDTH]]


CLASSES = {
    "models.gp.exact": ExactGP,
    "models._parametric.parametric": Parametric,
    "models._sparse.sparse": SparseGP,
    "models._deep_kernel.deep_kernel": DeepKernelGP,
    "models._multi_output.multi_output": MultiOutput,
}


def methods_of(covers: str, function: str) -> str:
    """The methods of a model's class that a view of it calls, as the table names them."""
    kind = next((CLASSES[name] for name in covers.split() if name in CLASSES), ExactGP)
    name = "condition_on_pending" if function.startswith("shrink") else function
    names = [name] if name in ("log_likelihood", "leave_one_out") else [name, "condition"]
    methods = [getattr(kind, name) for name in names]
    return " ".join(f"{one.__module__.removeprefix('gpax_lab.')}.{one.__qualname__}" for one in methods)


def process(
    note: str,
    build,
    function: str,
    dim: int = 1,
    capacity: int = 8,
    dtype: type = np.float64,
    covers: str = "models.gp.exact",
    tasks: int = 0,
    outputs: int = 0,
    **rest,
) -> Row:
    """One function of the model that `build` makes, on measurements of that size."""

    def make():
        obs, x = readings(dim, capacity, dtype, outputs, tasks), places(dim, dtype, tasks)
        return view(function, build(), obs, x)

    covers = f"{covers} {methods_of(covers, function)}"
    tolerance = 1e-8 if dtype is np.float64 else 3e-3
    kind = np.dtype(dtype).name
    where = f"{note} {dim}d {capacity} of {kind}: {function}"
    return row(covers, make, where, **{"tolerance": tolerance} | rest)


def by_kernel() -> list[Row]:
    """Every kernel: density, prediction and leave-one-out; with two inputs, where nothing was seen, the density."""
    found = []
    for name, kernel in KERNELS.items():
        for dim, capacity in ((1, 8), (1, 16), (2, 8)):
            build = cache(lambda kernel=kernel, dim=dim: gp.exact(dim, kernel=kernel, bounds=BOX * dim))
            of = {"dim": dim, "capacity": capacity, "covers": f"models.gp.exact kernels.{name}"}
            core = {"core": ("jit",) if name in SEEN_WRONG and (dim, capacity) == (1, 8) else ()}
            contexts = ("jit", "branch", "grad branch") if dim == 1 else ("jit",)
            found.append(process(name, build, "log_likelihood", contexts=contexts, **of, **core))
            if dim == 1:
                found.append(process(name, build, "predict", contexts=("jit",), **of, **core))
                found.append(process(name, build, "leave_one_out", contexts=("jit",), **of))
    return found


SEEN_WRONG = "matern52", "matern32", "add", "multiply"
"""Kernels that a jaxlib from 0.10.1 to 0.12.0.1 compiles wrongly in a process of one input."""

SIZES = [(1, 8), (1, 16), (1, 24), (1, 32), (2, 16), (3, 8)]


def by_size() -> list[Row]:
    """The default kernel in every context: numbers of inputs and slots, and single precision."""
    found = []
    for dim, capacity in SIZES:
        build = cache(lambda dim=dim: gp.exact(dim, bounds=BOX * dim))
        core = {"core": ("branch", "grad branch") if (dim, capacity) == (1, 16) else ()}
        contexts = EVERYWHERE if (dim, capacity) in ((1, 8), (1, 16), (2, 16)) else ("jit", "branch", "grad branch")
        found.append(process("size", build, "log_likelihood", dim, capacity, contexts=contexts, **core))
        found.append(process("size", build, "predict", dim, capacity, contexts=("jit", "vmap")))
    single = cache(lambda: gp.exact(1, bounds=BOX))
    smooth = cache(lambda: gp.exact(1, kernel=kernels.rbf, bounds=BOX))
    for note, build in (("matern52", single), ("rbf", smooth)):
        for function in ("log_likelihood", "predict", "leave_one_out"):
            for capacity in (8, 16):
                core = {"core": ("jit",) if (note, capacity, function) == ("matern52", 8, "log_likelihood") else ()}
                contexts = ("jit", "branch", "grad branch") if function == "log_likelihood" else ("jit",)
                found.append(process(note, build, function, 1, capacity, np.float32, contexts=contexts, **core))
    return found


def peak(x: jax.Array, params) -> jax.Array:
    return params["height"] / (1 + ((x[0] - params["centre"]) / params["width"]) ** 2)


PEAK = {
    "height": dist.HalfNormal(5.0),
    "centre": dist.Uniform(300.0, 360.0),
    "width": dist.LogNormal(1.0, 0.5),
}
FEW_ANCHORS = {"anchors": lambda params: jnp.linspace(LOW, LOW + WIDTH, 12)[:, None].astype(params["variance"].dtype)}
VARIANTS = {
    "mean": (
        16,
        lambda: gp.exact(1, mean=peak, prior=PEAK, bounds=BOX, **FEW_ANCHORS),
        "models._transform.DataTransform.mean_at",
    ),
    "known noise": (16, lambda: gp.exact(1, noise="known", bounds=BOX, **FEW_ANCHORS), "models._noise.noise_model"),
    "smooth noise": (
        16,
        lambda: gp.exact(1, noise=HeteroscedasticNoise(4), bounds=BOX, **FEW_ANCHORS),
        "models._noise.noise_model",
    ),
    "uncertain": (
        16,
        lambda: gp.exact(1, uncertain_inputs=16, bounds=BOX, **FEW_ANCHORS),
        "models._noise.input_noise_model models._transform.DataTransform.variance_at",
    ),
    "heavy tails": (
        8,
        lambda: gp.exact(1, noise=StudentNoise(capacity=8), bounds=BOX, **FEW_ANCHORS),
        "models._noise.StudentNoise.times models._noise.log_excess models._scaling.median "
        "models._transform.DataTransform.left_out_variance "
        "models._transform.DataTransform.noise_variance",
    ),
    "unscaled": (16, lambda: gp.exact(1, standardize=False, bounds=BOX, **FEW_ANCHORS), ""),
    "fixed scale": (8, lambda: gp.exact(1, standardize=(0.1, 2.0), bounds=BOX, **FEW_ANCHORS), ""),
}
REST = "joint", "leave_one_out", "shrink predict", "noise_variance", "paths"


def by_variant() -> list[Row]:
    """Means, noises, places and scales of measurements: every function of the model."""
    found = []
    for note, (capacity, build, more) in VARIANTS.items():
        common = {"dim": 1, "capacity": capacity, "covers": COVERED + more}
        core = {"core": ("jit",) if note in ("mean", "known noise", "uncertain") else ()}
        build = cache(build)
        found.append(
            process(note, build, "log_likelihood", contexts=("jit", "vmap", "branch", "grad branch"), **common, **core)
        )
        found.append(process(note, build, "predict", contexts=("jit", "vmap"), **common))
        found += [process(note, build, function, contexts=("jit",), **common) for function in REST]
    plain = cache(lambda: gp.exact(1, bounds=BOX, **FEW_ANCHORS))
    found += [process("plain", plain, function, contexts=FEW, capacity=16) for function in ("condition", *REST)]
    rough = cache(lambda: gp.exact(1, kernel=kernels.matern12, bounds=BOX))
    return [*found, process("all anchors", rough, "paths", contexts=("jit",))]


def two_tasks() -> Model:
    prior = kernels.coregion_prior(2) | {"variance": 1.0}
    return gp.exact(2, kernels.coregion(2, kernels.matern52), prior=prior, bounds=[*BOX, [0, 1]])


def first_input() -> Model:
    return gp.exact(2, kernels.active([0], kernels.matern52), bounds=BOX * 2)


def seen_through() -> Model:
    return deep_kernel(mlp((2,), 2, (4,)), lambda x: (x - LOW) / WIDTH, bounds=BOX * 2)


OTHERS = {
    "coregion": ("kernels.coregion kernels.scope", two_tasks, {"dim": 2, "tasks": 2}),
    "active": ("kernels.active", first_input, {"dim": 2, "capacity": 16}),
    "parametric": ("models._parametric.parametric", lambda: parametric(1, peak, PEAK, bounds=BOX), {}),
    "heavy tails": (
        "models._parametric.parametric models._noise.StudentNoise.log_density",
        lambda: parametric(1, peak, PEAK, noise=StudentNoise(), bounds=BOX),
        {},
    ),
    "sparse": ("models._sparse.sparse", lambda: sparse(1, inducing=6, bounds=BOX), {"capacity": 16}),
    "deep kernel": ("models._deep_kernel.deep_kernel nn._encoders.mlp", seen_through, {"dim": 2}),
    "vector": ("models._multi_output.multi_output", lambda: multi_output(gp.exact(1, bounds=BOX), 2), {"outputs": 2}),
}


def by_kind() -> list[Row]:
    """The other models: the functions that each of them has."""
    found = []
    for note, (covers, build, where) in OTHERS.items():
        build = cache(build)
        core = {"core": ("jit",) if "parametric" not in covers else ("grad",)}
        contexts = ("jit", "grad", "branch") if "parametric" in covers else ("jit", "vmap", "branch", "grad branch")
        found.append(process(note, build, "log_likelihood", covers=covers, contexts=contexts, **where, **core))
        functions = ["predict", "leave_one_out", "shrink predict", "noise_variance"]
        functions += [] if note == "vector" else ["joint", "paths"]
        found += [process(note, build, name, covers=covers, contexts=("jit",), **where) for name in functions]
    return found


def algebra() -> list[Row]:
    """The functions of `models.conditioning` by themselves, and what models are made of."""
    x = jnp.linspace(0, 0.9, 8)[:, None] ** 1.3
    params = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(0.8)}
    noise, active, y = jnp.full(8, 0.02), jnp.arange(8) < 6, jnp.sin(5 * x[:, 0])
    new = jnp.array([[0.11], [0.57]])
    of, k = conditioning, kernels.matern52

    def conditioned(use):
        return lambda p, *rest: use(p, of.condition(k, p, x_of(p), y, noise, active), *rest)

    def x_of(p):
        return x * (p["lengthscale"] / 0.3)[None]

    def put(name, function, *args, **rest):
        return row(f"models._conditioning.{name}", lambda: (function, (params, *args)), **rest)

    key = jax.random.key(0)
    gram = lambda p, x: of.gram(k, p, x, x)  # noqa: E731
    shares = np.asarray([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])

    def of_shares() -> Observations:
        fractions = np.random.default_rng(3).dirichlet(np.ones(3), 5)
        return observations(fractions, np.sin(5 * fractions[:, 0]), 0.01)

    return [
        row(
            "kernels.mixing",
            lambda: (lambda z: of.gram(kernels.mixing, {"pure": jnp.asarray(1.3)}, jnp.asarray(shares), z), (shares,)),
            contexts=("jit", "vmap", "grad"),
        ),
        *(
            row(
                "models._mixture.over_compositions",
                lambda name=name: view(name, over_compositions(3), of_shares(), jnp.asarray(shares)),
                note=name,
                contexts=("jit", "vmap"),
            )
            for name in ("log_likelihood", "predict")
        ),
        put("gram", gram, x, core=("jit",)),
        put("masked", lambda p, x: of.masked(gram(p, x), noise, active), x, core=("jit", "map")),
        put("log_marginal", lambda p, x: of.log_marginal(k, p, x, y, noise, active), x),
        put("log_marginal_of", lambda p, x: of.log_marginal_of(gram(p, x), y, noise, active), x),
        put("condition", lambda p, x: of.condition(k, p, x, y, noise, active), x, contexts=FEW),
        put("moments", conditioned(lambda p, f, x: of.moments(k, p, f, x)), new, contexts=FEW),
        put("joint_moments", conditioned(lambda p, f, x: of.joint_moments(k, p, f, x)), new, contexts=FEW),
        put(
            "condition_on_pending",
            conditioned(lambda p, f, a: of.condition_on_pending(k, p, f, x, noise, a)),
            jnp.ones(8, bool),
            contexts=FEW,
        ),
        put(
            "paths",
            conditioned(lambda p, f, z: of.paths(k, p, f, z, key=key, count=2, noise=noise, anchors=x[:3] + 0.05)),
            new,
            contexts=FEW,
        ),
        put("prior_paths", lambda p, x: of.prior_paths(k, p, x, active, key, 2), x, contexts=FEW),
        put("leave_one_out", lambda p, x: of.leave_one_out(k, p, x, y, noise, active), x),
    ]


def pieces() -> list[Row]:
    """Scaling, encoders, deep kernels' features, spectra of vectors."""
    obs = readings(2, 8)
    shown = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6, 6)))
    small = encoders.mlp((6, 6), 2, (5,))
    seen = encoders.convolutional((6, 6), 2, (2, 3), 4)
    flat = shown.reshape(3, -1)

    def weights(encoder):
        return 0.5 * jax.random.normal(jax.random.key(2), (encoder.size,))

    def put(name, encoder, **rest):
        return row(f"nn._encoders.{name}", lambda: (encoder.apply, (weights(encoder), shown)), **rest)

    def fixed(name, encoder, **rest):
        return row(f"nn._encoders.{name}", lambda: (lambda x: encoder.apply(jnp.zeros(0), x), (shown,)), **rest)

    def standard(y, obs):
        return standardisation(obs._replace(y=y), True, True), standardisation(obs._replace(y=y), (0.1, 2.0), False)

    def spectrum(mean):
        basis = SpectralBasis(flat[0], flat[1:], flat[0] ** 2, jnp.asarray(0.9))
        return basis.coefficients(mean @ flat[1:]), basis.spectra(mean, mean**2)

    turned = encoders.rotation_pooled(small, mirrored=True)
    directions = jnp.asarray(np.random.default_rng(2).normal(size=(36, 2)))
    return [
        row("models._scaling.standardisation", lambda: (standard, (obs.y, obs)), core=("grad branch",)),
        row(
            "models._scaling.measured_inputs",
            lambda: (lambda x, o: measured_inputs(o._replace(x=x)), (obs.x, obs)),
            contexts=("jit", "vmap"),
        ),
        put("mlp", small, core=("grad",)),
        put("convolutional", seen, contexts=("jit", "vmap", "grad")),
        put("rotation_pooled", turned, contexts=("jit", "vmap", "grad")),
        put("of_units", encoders.of_units(small, 0.2, 3.0), contexts=("jit", "grad")),
        fixed("frozen", encoders.frozen(small, weights(small)), contexts=("jit", "grad")),
        fixed("body", encoders.body(small, weights(small)), contexts=("jit", "grad")),
        put("last_layer", encoders.last_layer(small, weights(small)), contexts=("jit", "grad")),
        fixed("linear", encoders.linear(directions.T, shape=(6, 6)), contexts=("jit", "grad")),
        row(
            "models._deep_kernel.embed",
            lambda: (
                lambda w, x: embed(small, lambda x: jnp.sin(x[:, :1] * jnp.arange(36)[None]), w, x),
                (weights(small), obs.x),
            ),
            contexts=("jit", "vmap", "grad"),
        ),
        row(
            "models._multi_output.SpectralBasis.coefficients models._multi_output.SpectralBasis.spectra",
            lambda: (spectrum, (jnp.asarray([[0.2, 0.3], [-0.4, 0.1]]),)),
            contexts=("jit", "vmap", "grad"),
        ),
    ]


ROWS = [*by_kernel(), *by_size(), *by_variant(), *by_kind(), *algebra(), *pieces()]
