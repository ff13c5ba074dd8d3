"""Fits of spectra and loops, edges and lines, filters, 4D-STEM."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from table import EVERYWHERE, FEW, Row, row

from gpax_lab.simulators import diffraction
from gpax_lab.spectra import (
    Scalarizer,
    _fit,
    _loop,
    _loop_fit,
    _loop_scalars,
    _loop_start,
    _normal_equations,
    _residual,
    _sho_start,
    difference,
    edx,
    eels,
    forc,
    log10,
    loops,
    peaks,
    ratio,
    sho,
    streams,
    sts,
)
from gpax_lab.spectra.stem4d import _detectors, _fields, _strain
from rows.inference import KEY

RNG = np.random.default_rng(5)
BAND = np.linspace(320e3, 380e3, 24)
SHO = np.asarray([1.3, 351e3, 80.0, 0.4])
LOOP = np.asarray([-1.0, 2.0, 2.0, -1.5, 0.01, 0.9, 0.8, 0.7, 0.9])


def triangle(top: float, points: int) -> np.ndarray:
    return top * (np.abs((4 * np.arange(points) / points - 1) % 4 - 2) - 1)


BIAS = triangle(8.0, 32)
MENDED = _loop.LOOP_AREA.prepared(response=_loop.despike).rejecting(response=1e3)
FIT = ("jit", "vmap")
SHORT = ("jit", "vmap", "grad")
FITTED = 1e-6
"""A fit stops where a further step no longer matters; its last digits are those of the way there."""


def noisy(clean, level: float) -> np.ndarray:
    clean = np.asarray(clean)
    return clean + level * RNG.normal(size=clean.shape)


def switching(bias: np.ndarray) -> np.ndarray:
    """A loop in plain numpy: the branches of `LOOP`, with one width."""
    centre = np.where(bias > np.roll(bias, 1), LOOP[2], LOOP[3])
    return LOOP[0] + LOOP[1] * 0.5 * (1 + np.tanh((bias - centre) / 0.8)) + LOOP[4] * bias


def resonances() -> list[Row]:
    size, resonance, q, phase = SHO
    seen = size * np.exp(1j * phase) * resonance**2 / (BAND**2 - 1j * BAND * resonance / q - resonance**2)
    seen = noisy(seen.real, 1.0) + 1j * noisy(seen.imag, 1.0)

    def of(function):
        return lambda parts: function(BAND, parts[0] + 1j * parts[1])

    parts = np.stack([seen.real, seen.imag])
    x, loss = np.linspace(0.9, 1.1, 12), np.asarray(0.02)
    return [
        row("spectra.sho.sho_response", lambda: (lambda p: sho.sho_response(BAND, sho.ShoParams(*p)), (SHO,))),
        row("spectra.sho.sho_fit", lambda: (of(sho.sho_fit), (parts,)), contexts=FIT, tolerance=FITTED),
        row(
            "spectra.sho.sho_amplitude_fit",
            lambda: (lambda a: sho.sho_amplitude_fit(BAND, a), (np.abs(seen),)),
            contexts=("jit",),
            tolerance=FITTED,
        ),
        row(
            "spectra.sho.sho_scalarizer",
            lambda: (of(lambda f, h: sho.sho_scalarizer("resonance").function(f, h)[:2]), (parts,)),
            contexts=("jit",),
            tolerance=FITTED,
        ),
        row("spectra._sho_start.sho_start", lambda: (of(_sho_start.sho_start), (parts,)), contexts=FEW),
        row(
            "spectra._sho_start.start_of",
            lambda: (lambda parts: _sho_start.start_of(BAND, (parts[0] + 1j * parts[1])[None]), (parts,)),
            contexts=FEW,
        ),
        row(
            "spectra._sho_start.inputs",
            lambda: (lambda a: _sho_start.inputs(BAND, a, False), (np.abs(seen),)),
            contexts=FEW,
        ),
        row(
            "spectra._sho_start.unit_response",
            lambda: (lambda r: _sho_start.unit_response(x, r, loss), (jnp.asarray(1.01),)),
        ),
        row(
            "spectra._sho_start.magnitude",
            lambda: (lambda u: _sho_start.magnitude(x, u), (jnp.asarray([1.2, 1.01, 0.02]),)),
        ),
    ]


def hysteresis() -> list[Row]:
    response = noisy(switching(BIAS), 0.02)
    spiky = response + 4.0 * (np.arange(32) == 3)

    def put(name, function, first, contexts=SHORT, **rest):
        return row(f"spectra.{name}", lambda: (function, (first,)), contexts=contexts, **rest)

    of_loops = "_loop_fit.loop_fit _loop_scalars.scalars_of_fit _loop_point.loop_at_point _loop_point.slopes_at_point "
    of_loops += "_loop_point.switch_at _loop_fit.diagonals"

    def numbers(p):
        return loops.loop_scalars(p, BIAS)

    def of_fit(y):
        return _loop_scalars.scalars_of_fit(_loop_fit.loop_fit(BIAS, y, 0.02), BIAS)

    return [
        put("_loop.triangle", lambda v: _loop.triangle(v, 16), jnp.asarray(8.0)),
        put("_loop.triangle_at", lambda v: _loop.triangle_at(v, BIAS / 9.0), jnp.asarray(8.0)),
        put("_loop.rising", _loop.rising, BIAS, FEW),
        row("spectra._loop.rising", lambda: (_loop.rising, (np.repeat(np.tile(BIAS, 2), 2),)), "twice", FEW),
        put("_loop.cycles", _loop.cycles, np.tile(BIAS, 2), FEW),
        put("_loop.sweep_step", _loop.sweep_step, BIAS, FEW),
        put("_loop.loop_function", lambda p: _loop.loop_function(BIAS, p), LOOP, EVERYWHERE, core=("grad",)),
        put("_loop.loop_area", lambda y: _loop.loop_area(BIAS, y), response),
        put("_loop.log_loop_area", lambda y: _loop.log_loop_area(BIAS, y), response),
        put("_loop.despike", _loop.despike, spiky),
        put(
            "_scalarizer.Scalarizer.prepared spectra._scalarizer.Scalarizer.rejecting spectra._scalarizer.stated",
            lambda y: MENDED.function(BIAS, y)[:2],
            spiky,
        ),
        put("_loop.coercive_biases", lambda y: _loop.coercive_biases(BIAS, y), response),
        put("_loop.remanence", lambda y: _loop.remanence(BIAS, y), response),
        put("_loop_start.loop_start", lambda y: _loop_start.loop_start(BIAS, y), response, FEW),
        put(
            "_loop_start.starts_of",
            lambda y: _loop_start.starts_of(jnp.asarray(BIAS), y[None], _loop.rising(BIAS)),
            response,
            FEW,
        ),
        put("_loop_start.inputs", lambda y: _loop_start.inputs(BIAS, y, None), response, FEW),
        put(of_loops.replace(" ", " spectra."), of_fit, response, ("jit",), tolerance=1e-5),
        put(
            "_loop_scalars.loop_scalarizer",
            lambda y: loops.loop_scalarizer("area").function(BIAS, y)[:2],
            response,
            ("jit",),
            tolerance=1e-5,
        ),
        put("_loop_scalars.loop_scalars _loop_point.switched_at".replace(" ", " spectra."), numbers, LOOP),
        put("_loop.on_off", loops.on_off, response, FEW),
    ]


def of_many() -> list[Row]:
    """Families of loops and reversal curves."""
    cycles = [triangle(v, 16) for v in (4.0, 8.0)]
    bias = np.concatenate(cycles)
    responses = np.concatenate([switching(v) for v in cycles])
    reversal = np.linspace(-6.0, 4.0, 9)
    sweep = reversal[:, None] + 0.5 * np.arange(12)[None]
    surface = 0.3 * reversal[:, None] ** 2 + 0.7 * reversal[:, None] * sweep
    at = np.array([[-3.0, 0.0], [0.0, 2.0]])

    return [
        row(
            "spectra.forc.loop_family",
            lambda: (lambda y: forc.loop_family(jnp.asarray(bias).reshape(2, 16), y), (responses.reshape(2, 16),)),
        ),
        row(
            "spectra.forc.forc_distribution",
            lambda: (lambda y: forc.forc_distribution(reversal, sweep, y, at, (3.0, 3.0)), (surface,)),
        ),
    ]


def curves() -> list[Row]:
    """The general fit, its pieces, peaks, scalars."""
    x = np.linspace(-4.0, 4.0, 24)
    truth = np.array([2.0, 0.5, 0.8, 0.3])

    def bell(x, p):
        return p[0] * jnp.exp(-0.5 * ((x - p[1]) / p[2]) ** 2) + p[3]

    y = noisy(2.0 * np.exp(-0.5 * ((x - 0.5) / 0.8) ** 2) + 0.3, 0.05)
    start = np.array([1.5, 0.0, 1.2, 0.0])

    def fitted(y, **more):
        found = _fit.curve_fit(bell, x, y, start, **more)
        refused = _fit.refused(found, found.r_squared > 0.5)
        return found, _fit.judged(_fit.transformed(found, lambda p: p[:2] / p[2])), refused

    def bounded(y):
        return fitted(y, lower=[0.0, -1, 0.1, -1], upper=[1.4, 2, 3, 1])

    def robust(y):
        return _fit.curve_fit(bell, x, y.at[2].add(3.0), start, huber=1.345)

    formula = _normal_equations.Formula(bell, None)
    box = np.asarray([0.0, -1, 0.1, -1]), np.asarray([1.4, 2, 3, 1.0])
    one = np.zeros(1, int)

    def pieces(params):
        task = _normal_equations.Task(x, jnp.asarray(y)[None], None, tuple(map(jnp.asarray, box)))
        where = _normal_equations.within(task, params[:, None])
        values, weight, _ = _normal_equations.data(task, one)
        a, b, cost = _normal_equations.normal(formula, x, values, weight, where)
        free = _normal_equations.free_parameters(where, b, task)
        held = _normal_equations.fix_params(a, free)
        eye = jnp.eye(4)[..., None]
        return (
            where,
            _normal_equations.curve(formula, x, where),
            a,
            b,
            cost,
            _normal_equations.gauss_jordan_solve(held, eye),
        )

    a = np.asarray([[3.0, 1.0], [1.0, 2.0]])

    def joined(y):
        one, other = (
            Scalarizer.of_fit(lambda y: _fit.curve_fit(bell, x, y, start), lambda p, k=k: p[k], ("y",)) for k in (0, 2)
        )
        return [use.function(y)[:2] for use in (ratio(one, other), difference(one, other), log10(one))]

    window = (-3.0, 4.0)
    shape = np.asarray([2.0, 0.3, 0.7, 0.4])
    size = np.abs(y[:, None]) + 0.1
    limit = np.asarray([[0.5], [1e9]])

    def put(name, function, first, contexts=FIT, tolerance=FITTED, **rest):
        return row(f"spectra.{name}", lambda: (function, (first,)), "", contexts, tolerance=tolerance, **rest)

    several = "_fit.curve_fit spectra._fit.transformed spectra._fit.judged spectra._fit.judged_status "
    several += "spectra._fit.refused "
    several += "spectra._normal_equations.as_real "
    several += "spectra._outcome.summary spectra._least_squares.fit_all "
    several += "spectra._normal_equations.spectra_as_real spectra._normal_equations.parts_of"
    of_pieces = "_normal_equations.normal spectra._normal_equations.curve spectra._normal_equations.data "
    of_pieces += "spectra._normal_equations.free_parameters spectra._normal_equations.fix_params "
    of_pieces += "spectra._normal_equations.gauss_jordan_solve spectra._normal_equations.within"
    combined = "_scalarizer.Scalarizer.of_fit spectra._combinations.combine spectra._combinations.ratio "
    combined += "spectra._combinations.difference spectra._scalarizer.checked "
    return [
        put(several, fitted, y),
        row("spectra._fit.curve_fit", lambda: (bounded, (y,)), "bounded", ("jit",), tolerance=1e-5),
        row("spectra._fit.curve_fit", lambda: (robust, (y,)), "robust", ("jit",), tolerance=1e-5),
        put("_fit.normal_solve", lambda a: _fit.normal_solve(a, jnp.ones(2)), a, SHORT, 1e-8),
        put(of_pieces, pieces, truth, FEW, 1e-8, core=("vmap",)),
        put(
            "_residual.neighbour_correlation spectra._residual.widening spectra._residual.misfit",
            lambda y: (
                _residual.neighbour_correlation(y),
                _residual.widening(_residual.neighbour_correlation(y, closed=True), 24),
                _residual.misfit(jnp.sum(y**2), 24),
            ),
            y,
            FEW,
            1e-8,
        ),
        put("_normal_equations.huber_weight", lambda s: _normal_equations.huber_weight(s, limit), size, FEW, 1e-8),
        put(
            "_normal_equations.huber_limit",
            lambda s: _normal_equations.huber_limit(s, jnp.ones_like(s), True, 1.345, jnp.inf),
            size,
            FEW,
            1e-8,
        ),
        put(combined + "spectra._combinations.log10", joined, np.abs(y) + 0.5, ("jit",)),
        *[
            put(
                f"peaks.{name}",
                lambda p, name=name: jax.vmap(lambda a: getattr(peaks, name)(a, p))(jnp.asarray(x + 5.0)),
                shape,
                SHORT,
                1e-8,
            )
            for name in ("gaussian", "lorentzian", "pseudo_voigt", "plasmon")
        ],
        put("peaks.fit_peak", lambda y: peaks.fit_peak(x, y, window), y, ("jit",)),
        put("peaks.peak_scalarizer", lambda y: peaks.peak_scalarizer(window).function(x, y)[:2], y, ("jit",)),
        put(
            "peaks.peak_ratio",
            lambda y: peaks.peak_ratio((-4, -1.5), (-1.5, 3.0)).function(x, y)[:2],
            y,
            ("jit",),
            1e-5,
        ),
        put("peaks.align", lambda y: peaks.align(y, jnp.stack([y, jnp.roll(y, 1)])), y, ("jit",), 1e-8),
        put("peaks.shift_spectra", lambda y: peaks.shift_spectra(y[None], jnp.asarray([0.4])), y, SHORT, 1e-8),
    ]


def counts() -> list[Row]:
    """Energy losses, X-ray lines, tunnelling spectra."""
    energy = 350.0 + 2.0 * np.arange(80)
    y = RNG.poisson(200.0 * (energy / 425.0) ** -3.0 + 60.0 * (energy >= 455.0)).astype(float)
    windows = (380.0, 450.0), (456.0, 480.0)
    axis = 0.9 + 0.05 * np.arange(80)
    shapes = np.stack([np.exp(-0.5 * ((axis - e) / 0.08) ** 2) for e in (1.254, 1.740)] + [np.ones(80), axis[::-1]])
    shapes = shapes / shapes.sum(axis=1, keepdims=True)
    lines = RNG.poisson(np.asarray([40.0, 60.0, 30.0, 40.0]) @ shapes).astype(float)
    bias = np.linspace(-2.0, 2.0, 41)
    slope = np.where(bias > 0.5, bias - 0.5, np.where(bias < -0.7, -0.7 - bias, 0.0)) + 0.003 * np.cos(9 * bias)

    def put(name, function, first, contexts=FIT, tolerance=1e-8, **rest):
        return row(f"spectra.{name}", lambda: (function, (first,)), "", contexts, tolerance=tolerance, **rest)

    def loss(y):
        back = eels.power_law(energy, y, windows[0])
        return back, eels.background(energy, back), eels.edge(energy, y, *windows)

    return [
        put("eels.power_law spectra.eels.background spectra.eels.edge", loss, y, FEW),
        row(
            "spectra.eels.power_law",
            lambda: (lambda y: eels.power_law(energy, y, windows[0], "poisson"), (y,)),
            "poisson",
            FIT,
        ),
        put("eels.edge_scalarizer", lambda y: eels.edge_scalarizer(*windows).function(energy, y)[:2], y, ("jit",)),
        put(
            "eels.edge_ratio",
            lambda y: eels.edge_ratio(windows, (windows[0], (482.0, 500.0))).function(energy, y)[:2],
            y,
            ("jit",),
        ),
        put("edx.line_width", lambda e: edx.line_width(e), np.asarray([1.2, 3.3]), SHORT),
        put("edx.fit_lines", lambda y: edx.fit_lines(y, shapes, 20), lines, FIT, FITTED, core=("jit",)),
        put(
            "edx.line_scalarizer",
            lambda y: edx.line_scalarizer(shapes, 1).function(axis, y)[:2],
            lines,
            ("jit",),
            FITTED,
        ),
        put("sts.derivative", lambda y: sts.derivative(bias, y), slope, SHORT),
        put(
            "sts.normalized_conductance", lambda y: sts.normalized_conductance(bias, jnp.cumsum(y), y, 0.2), slope, FEW
        ),
        put("sts.gap", lambda y: sts.gap(bias, y, 0.2, 0.01), slope, FEW, core=("jit",)),
        put("sts.gap_scalarizer", lambda y: sts.gap_scalarizer(0.2, 0.01).function(bias, y)[:2], slope, FIT),
        put("sts.thermal_width", sts.thermal_width, np.asarray(4.2)),
        put(
            "sts.thermal_peak",
            lambda p: sts.thermal_peak(jnp.asarray(0.3), p),
            np.asarray([1.0, 0.2, 0.1, 0.0]),
            SHORT,
        ),
    ]


def signals() -> list[Row]:
    tone = np.sin(0.7 * np.arange(64.0)) + 0.1 * RNG.normal(size=64)
    response = np.exp(-np.arange(17.0) / 4)

    def put(name, function, first, contexts=FEW):
        return row(f"spectra.streams.{name}", lambda: (function, (first,)), contexts=contexts)

    return [
        put("kernel_of", lambda r: streams.kernel_of(r, 9), response, SHORT),
        put("demodulated", lambda s: streams.demodulated(s, 10.0, 1.2, 16), tone, SHORT),
    ]


@cache
def scanned() -> tuple[jax.Array, jax.Array]:
    """Patterns of a crystal, and one of Bragg discs."""
    beam = diffraction.probe(SIZE, 1.2, 80e3, 8.0)
    crystal = 0.1 * diffraction.perovskite(3, SIZE, 0.4, jnp.array([0.03, 0.0]), width=0.06)
    stack = diffraction.scan(beam, crystal, jnp.asarray([[0.1, 0.3], [0.5, 0.6], [0.8, 0.2]]))
    return stack, diffraction.discs(SIZE, jnp.asarray(PLACES + 0.2), 1.5, jnp.ones(4), 5000.0, KEY)


SIZE = 16
PLACES = np.asarray([[5.0, 5.0], [5.0, 11.0], [11.0, 5.0], [11.0, 11.0]])


def patterns() -> list[Row]:
    middle = (7.5, 8.2)
    ring = (np.hypot(*(np.mgrid[:SIZE, :SIZE] - np.reshape(middle, (2, 1, 1)))) < 6.0).astype(float)
    grid = np.meshgrid(np.linspace(0, 1.6, 8), np.linspace(0, 1.2, 7), indexing="ij")
    bent = np.stack([np.cos(2 * grid[0]) * np.cos(3 * grid[1]), -np.sin(2 * grid[0] + grid[1])], -1)
    step = (0.2, 0.2)
    index = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])

    def put(name, function, first, contexts=("jit", "vmap", "grad"), tolerance=1e-8, **rest):
        made = first if callable(first) else lambda: first
        return row(f"spectra.stem4d.{name}", lambda: (function, (made(),)), "", contexts, tolerance=tolerance, **rest)

    def strained(image):
        lattice = _strain.fit_lattice(_strain.find_discs(image[None], jnp.asarray(PLACES), 2.0), index)
        return lattice, _strain.strain(lattice, 6.0 * jnp.eye(2))

    names = "_strain.find_discs spectra.stem4d._strain.fit_lattice spectra.stem4d._strain.strain"
    discs = lambda d: diffraction.discs(SIZE, jnp.asarray(PLACES), 1.5, jnp.ones(4), d, KEY)  # noqa: E731
    return [
        row("simulators.diffraction.discs", lambda: (discs, (np.asarray(500.0),)), contexts=FIT),
        put("_detectors.radii", lambda c: _detectors.radii((6, 7), c), np.asarray([2.3, 3.1]), FEW),
        put("_detectors.annular", lambda r: _detectors.annular((8, 8), (3.5, 4.1), 1.0, r), np.asarray(3.0), FEW),
        put("_detectors.segment", lambda r: _detectors.segment((8, 8), (3.5, 4.1), 1.0, r, 1), np.asarray(3.0), FEW),
        put("_detectors.virtual_detector", lambda p: _detectors.virtual_detector(p, ring), lambda: scanned()[0]),
        put("_detectors.centre_of_mass", _detectors.centre_of_mass, lambda: scanned()[0]),
        put("_detectors.deflection", _detectors.deflection, lambda: scanned()[0]),
        put("_fields.projected_field", lambda d: _fields.projected_field(d, 1.3, 4.2e-3, 7.3e-3), bent),
        put("_fields.without_descan", _fields.without_descan, bent),
        put("_fields.align_detector", lambda f: _fields.align_detector(f, step), bent, FIT),
        put("_fields.rotate_vectors", lambda a: _fields.rotate_vectors(jnp.asarray(bent), a), np.asarray(0.3)),
        put("_fields.potential", lambda f: _fields.potential(f, step), bent),
        put("_fields.charge", lambda f: _fields.charge(f, step, False, 0.1), bent),
        put("_fields.charge_variance", lambda v: _fields.charge_variance(v, step, True, 0.1), bent**2, FIT),
        put(names, strained, lambda: scanned()[1], FEW, FITTED),
    ]


ROWS = [*resonances(), *hysteresis(), *of_many(), *curves(), *counts(), *signals(), *patterns()]
