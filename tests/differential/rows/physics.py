"""Laws, means, formulas, simulated samples and images, diffraction, core._poses."""

import jax
import jax.numpy as jnp
import numpy as np
from table import EVERYWHERE, FEW, Row, row

from gpax_lab import means, priors
from gpax_lab.core import _poses as poses
from gpax_lab.core import _priors
from gpax_lab.hypotheses import _formulas as formulas
from gpax_lab.laws import _ranges, domain_writing, mixtures, shapes, transitions
from gpax_lab.nn import _layers as layers
from gpax_lab.simulators import (
    _band_excitation,
    _domain_image,
    _glyphs,
    _loop_family,
    _unit_cells,
    diffraction,
    ferroelectric,
    stem_sample,
)
from gpax_lab.spectra.loops import LoopParams
from gpax_lab.spectra.sho import ShoParams
from rows.inference import KEY

X, Y = (300.0, 360.0), (0.0, 2.0)
SHORT = ("jit", "vmap", "grad")
LAWS = {
    "shapes": ("flat", "line", "parabola", "kink", "step", "peak", "dip", "power", "hill"),
    "transitions": ("second_order", "first_order", "landau_second", "landau_first", "curie_weiss", "arrhenius"),
    "mixtures": ("constant", "vegard", "nordheim", "redlich_kister"),
    "domain_writing": ("thermodynamic", "wall_kinetics", "charge_injection", "wall_pinning"),
}


def law_of(room: str, name: str) -> means.Law:
    make = getattr(
        {"shapes": shapes, "transitions": transitions, "mixtures": mixtures, "domain_writing": domain_writing}[room],
        name,
    )
    return {"mixtures": lambda: make(3, Y), "domain_writing": lambda: make((2.0, 8.0), 60.0)}.get(
        room, lambda: make(X, Y)
    )()


def at(law: means.Law) -> jax.Array:
    """Three points of a law's inputs."""
    if "domain" in law.source.lower() or law.dim == 2:
        return jnp.asarray([[3.0, -1.2], [5.5, 0.3], [7.0, 1.4]])
    share = jnp.asarray([[0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.4, 0.4, 0.2]])
    return share if law.dim == 3 else jnp.asarray([[311.0], [329.0], [352.0]])


def drawn(law: means.Law):
    """A law as a function of its parameters."""
    params = priors.sample(KEY, _priors.as_program(law.prior))
    return lambda p, x: jax.vmap(lambda a: law.mean(a, p))(x), (params, at(law))


def laws() -> list[Row]:
    found = [
        row(f"laws.{room}.{name}", lambda of=(room, name): drawn(law_of(*of)), contexts=("jit", "grad"))
        for room, names in LAWS.items()
        for name in names
    ]
    peak, line = (lambda: means.scope("a", shapes.peak(X, Y))), (lambda: shapes.line(X, Y))

    def put(name, make, contexts=("jit", "vmap", "grad"), **rest):
        return row(name, lambda: drawn(make()), contexts=contexts, **rest)

    def own(function, **params):
        values = {name: np.asarray(value) for name, value in params.items()}
        return lambda: (lambda p, x: jax.vmap(lambda a: function(a, p))(x), (values, np.linspace(0.1, 0.9, 3)[:, None]))

    def curves(key):
        return shapes.peak(X, Y).draw(key, jnp.asarray([[311.0], [329.0]]), 2)

    two = own(means.dips(2), y0=1.0, A=[0.3, 0.4], x0=[0.3, 0.7], w=[0.1, 0.2])
    text = "A*exp(-x/t) + B*x**2"
    prior = shapes.peak(X, Y).prior
    prior = {"A": next(iter(prior.values())), "t": _ranges.height(Y), "B": _ranges.level(Y)}

    def marginal():
        gp = mixtures.marginal(mixtures.vegard(3, Y))
        return lambda x, z: (gp.mean(x, {}), gp.kernel(x, z, {})), (np.asarray([0.2, 0.3, 0.5]), np.ones(3) / 3)

    return [
        *found,
        put("means.add means.scope", lambda: means.add(peak(), line()), core=("grad",)),
        put("means.multiply", lambda: means.multiply(peak(), line())),
        put("means.piecewise core._steps.logistic_step", lambda: means.piecewise(line(), line(), prior["B"], 0.5)),
        row("means.Law.draw", lambda: (curves, (KEY,)), contexts=("jit", "vmap")),
        row("means.dips", two, contexts=SHORT),
        row("means.zero", own(means.zero, level=1.0), contexts=("jit",)),
        row("means.constant", own(means.constant, level=1.3), contexts=("jit", "grad")),
        row(
            "means.power_law_switch", own(means.power_law_switch, **parameters(means.power_law_switch)), contexts=SHORT
        ),
        row(
            "means.growing_oscillation",
            own(means.growing_oscillation, **parameters(means.growing_oscillation)),
            contexts=SHORT,
        ),
        put("hypotheses._formulas.formula hypotheses._formulas.evaluate", lambda: formulas.formula(text, prior)),
        row(
            "hypotheses._formulas.function",
            lambda: (lambda x: formulas.function("sin(3*x) + x**2")(x), (jnp.asarray([0.4]),)),
            contexts=SHORT,
        ),
        row("laws.mixtures.marginal", marginal, contexts=("jit", "grad")),
        row(
            "laws._ranges.power_of",
            lambda: (lambda x: _ranges.power_of(x, 1.3), (jnp.asarray([0.0, 0.4, 2.0]),)),
            contexts=SHORT,
        ),
    ]


def parameters(mean) -> dict[str, float]:
    """A number for every parameter that a mean reads."""
    names = _priors.parameter_shapes(mean, 1, 1)
    return {name: 0.4 + 0.1 * k for k, name in enumerate(sorted(names))}


def samples() -> list[Row]:
    """The simulated film, specimens, images: functions of a key or of a place."""
    bias = np.linspace(-4, 4, 12)
    sho, loop = (
        ShoParams(1.0, 350e3, 100.0, 0.3),
        LoopParams(*np.asarray([-1.0, 2.0, 2.0, -1.5, 0.01, 0.9, 0.8, 0.7, 0.9])),
    )
    band = np.linspace(320e3, 380e3, 12)
    place, spot = np.asarray([0.7e-6, 1.1e-6]), np.asarray([0.42, 0.55])

    def film():
        return jax.tree.map(lambda leaf: leaf.astype(float), ferroelectric.film(KEY))

    def of_film(name, function, contexts=SHORT, **rest):
        return row(f"simulators.ferroelectric.{name}", lambda: (function, (place, film())), contexts=contexts, **rest)

    def specimen():
        return jax.tree.map(lambda leaf: leaf.astype(float), stem_sample.specimen(KEY, 5))

    def of_specimen(name, function):
        return row(f"simulators.stem_sample.{name}", lambda: (function, (spot, specimen())), contexts=SHORT)

    def of_key(name, function, contexts=("jit", "vmap"), **rest):
        return row(f"simulators.{name}", lambda: (function, (KEY,)), contexts=contexts, **rest)

    f = ferroelectric
    single = {"tolerance": 1e-5}
    """What is drawn in float32."""
    return [
        of_key("ferroelectric.film", f.film, **single),
        of_film("polarization", lambda x, film: f.polarization(film, x), core=("vmap",)),
        of_film("quality", lambda x, film: f.quality(film, x)),
        of_film("loop_params", lambda x, film: f.loop_params(film, x)),
        of_film("loop", lambda x, film: f.loop(film, x, bias), EVERYWHERE),
        of_film("loop_area_map", lambda x, film: f.loop_area_map(film, jnp.stack([x, x[::-1]]), bias)),
        of_film("grid", lambda x, film: f.grid(film._replace(size=x), (3, 2))),
        of_key("ferroelectric.noise", lambda key: f.noise(key, (4,), 0.1), **single),
        of_key("ferroelectric.drift", lambda key: f.drift(key, 4, 1e-9, 1e-9), **single),
        of_key("_band_excitation.be_spectrum", lambda key: _band_excitation.be_spectrum(key, band, *sho, 0.1)),
        of_key("_band_excitation.be_sample", lambda key: _band_excitation.be_sample(key, 8), ("jit",), **single),
        row(
            "simulators._band_excitation.be_switching",
            lambda: (lambda v: _band_excitation.be_switching(band, v, sho, loop), (bias,)),
            contexts=SHORT,
        ),
        of_key("stem_sample.specimen", lambda key: stem_sample.specimen(key, 4)),
        of_specimen("thickness", lambda x, of: stem_sample.thickness(of, x)),
        of_specimen("haadf", lambda x, of: stem_sample.haadf(of, x, 1e3)),
        of_specimen("eels", lambda x, of: stem_sample.eels(of, x, 1e3)),
        of_key("_glyphs.glyphs", lambda key: _glyphs.glyphs(key, 2, (8, 8)), ("jit",), **single),
        of_key("_loop_family.loop_family", lambda key: _loop_family.loop_family(key, 3, 16), ("jit",)),
        of_key("_unit_cells.unit_cells", lambda key: _unit_cells.unit_cells(key, 2, 8), ("jit",)),
        of_key("_unit_cells.film_of_cells", lambda key: _unit_cells.film_of_cells(key, (2, 2), 8.0), ("jit",)),
        of_key("_domain_image.written_radius", lambda key: _domain_image.written_radius(key, 3.0, 1.0, 0.1, 0.1)),
        of_key(
            "_domain_image.domain_image", lambda key: _domain_image.domain_image(key, 3.0, 12, 1.0, 0.8, 0.1, 0.2, 0.1)
        ),
    ]


def waves() -> list[Row]:
    """Electrons through a crystal, and turned and shifted objects."""
    size = 16

    def beam():
        return diffraction.probe(size, 1.2, 80e3, 8.0)

    def crystal():
        return 0.1 * diffraction.perovskite(3, size, 0.4, jnp.array([0.03, 0.0]), width=0.06)

    spots = np.asarray([[0.1, 0.3], [0.5, 0.6]])
    points = np.asarray(poses.grid((3, 4)))
    pose = poses.Pose(np.asarray([0.3, -1.1]), np.asarray([[0.1, 0.2], [0.0, -0.3]]), np.asarray([1.1, 0.8]))
    pictures = np.random.default_rng(8).normal(size=(2, 5, 5))

    def put(name, function, first, *rest, contexts=SHORT, **more):
        return row(name, lambda: (function, (first, *(make() for make in rest))), contexts=contexts, **more)

    def through(name, function, first, *rest, contexts=SHORT):
        """The probe holds its voltage as a number, and is no argument of what is compiled."""

        def make():
            probe = beam()
            return lambda first, *rest: function(probe, first, *rest), (first, *(make() for make in rest))

        return row(f"simulators.diffraction.{name}", make, contexts=contexts)

    return [
        put("simulators.diffraction.atoms", lambda p: diffraction.atoms(p, 0.4, 0.05, size, 1.2), spots),
        put(
            "simulators.diffraction.perovskite",
            lambda d: diffraction.perovskite(2, size, 0.4, d),
            np.asarray([0.03, 0.01]),
        ),
        put(
            "simulators.diffraction.probe",
            lambda v: diffraction.probe(size, 1.2, 80e3, 8.0, v),
            np.asarray(3.0),
            contexts=FEW,
        ),
        through("pattern", lambda b, p, v: diffraction.pattern(b, v, p), spots[0], crystal),
        through("scan", lambda b, p, v: diffraction.scan(b, v, p), spots, crystal, contexts=("jit", "vmap")),
        through("seen_field", diffraction.seen_field, np.cos(np.add.outer(np.arange(16.0), 0.3 * np.arange(16.0)))),
        put("core._poses.to_object", lambda p: poses.to_object(jnp.asarray(points), p), pose),
        put("core._poses.rotated_views", lambda x: poses.rotated_views(x, 4), pictures),
        put("core._poses.rotated_back", lambda p: poses.rotated_back(p, jnp.asarray([0.2, 0.4])), pose),
        put("nn._layers.halved", layers.halved, pictures[..., None]),
    ]


ROWS = [*laws(), *samples(), *waves()]
