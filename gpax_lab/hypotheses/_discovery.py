"""Candidate laws from observations: exact Bayesian regression over every small subset of a library of terms.

y = c + sum_j b_j t_j(x) + noise, with few b_j that are not zero. Parameters inside terms are not fitted: x ** p needs
its p. Source: the library of terms is that of SINDy (Brunton et al. 2016, PNAS 113, 3932); here subsets are weighed by
their evidence instead of a threshold.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core import _inputs as inputs
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import ArrayLike
from gpax_lab.hypotheses import _formulas as formulas
from gpax_lab.hypotheses._subsets import all_subsets, coefficients_of, greedy_subsets, log_evidences, scaled_to_unit
from gpax_lab.means import Law


@dataclass(frozen=True)
class TermLibrary:
    """Terms that a law may be made of, each a formula of the inputs; the constant is always there besides.

    Attributes:
        names: the formulas.
        inputs: names of the inputs in order.
    """

    names: tuple[str, ...]
    inputs: tuple[str, ...] = ("x",)

    def __call__(self, x: ArrayLike) -> Array:
        """(n, p) every term at x (n, d)."""
        each = [jax.vmap(formulas.function(name, self.inputs)) for name in self.names]
        points = jnp.asarray(x, jnp.result_type(float))
        return jnp.stack([term(points) for term in each], axis=1)


def term_library(*terms: str, inputs: Sequence[str] = ("x",), degree: int = 0) -> TermLibrary:
    """A library of terms.

    Args:
        *terms: formulas of the inputs, e.g. "sin(x)", "exp(-V / 2)".
        inputs: names of the inputs in order.
        degree: all products of inputs up to this degree come first.

    Raises:
        ValueError: a term is no formula, reads what is no input, or reads no input; or there is no term.

    Example:
        >>> term_library("sin(x)", degree=2).names
        ('x', 'x ** 2', 'sin(x)')
    """
    products = [
        _product(inputs, chosen)
        for size in range(1, degree + 1)
        for chosen in itertools.combinations_with_replacement(range(len(inputs)), size)
    ]
    texts = tuple(dict.fromkeys(formulas.normal(text) for text in (*products, *terms)))
    for text in texts:
        formulas.function(text, inputs)
        if not formulas.names(formulas.parse(text)):
            raise ValueError(f"the term {text!r} reads no input: the constant is part of every candidate already.")
    if not texts:
        raise ValueError("a library needs a term: give formulas, or a degree of at least 1.")
    return TermLibrary(texts, tuple(inputs))


def _product(inputs: Sequence[str], chosen: tuple[int, ...]) -> str:
    powers = [(inputs[i], chosen.count(i)) for i in sorted(set(chosen))]
    return " * ".join(name if power == 1 else f"{name} ** {power}" for name, power in powers)


@dataclass(frozen=True)
class Proposal:
    """One candidate: some terms and what the observations say of their coefficients.

    Attributes:
        terms: formulas of the terms besides the constant.
        mean: (1 + k,) posterior means: the constant, then one coefficient per term, in the user's units.
        sd: (1 + k,) posterior standard deviations.
        log_evidence: log marginal likelihood of the observations in the user's units.
        probability: posterior probability among all subsets that were tried.
        rmse: root mean square error of every observation as predicted by all others (unit of y).
        inputs: names of the inputs.
        x: (n, d) where observations were taken.
        span: lowest and highest observation.
    """

    terms: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    log_evidence: float
    probability: float
    rmse: float
    inputs: tuple[str, ...]
    x: np.ndarray = field(repr=False)
    span: tuple[float, float] = field(repr=False)

    @property
    def formula(self) -> str:
        """The candidate with its numbers."""
        parts = [f"{self.mean[0]:.4g}"]
        for value, term in zip(self.mean[1:], self.terms, strict=True):
            parts.append(f"{'-' if value < 0 else '+'} {abs(value):.4g} * {_bracketed(term)}")
        return " ".join(parts)

    @property
    def centres(self) -> np.ndarray:
        """(k,) mean of each term over the observations, to eight digits."""
        if not self.terms:
            return np.zeros(0)
        return np.array(
            [float(f"{value:.8g}") for value in np.asarray(TermLibrary(self.terms, self.inputs)(self.x)).mean(0)]
        )

    @property
    def text(self) -> str:
        """The candidate with letters for numbers: C for its mean, k1, k2, ... for the terms, less their own means."""
        letters = _letters(len(self.terms), self.inputs)
        each = zip(letters[1:], self.terms, self.centres, strict=True)
        parts = [f"{k} * (({t}) {'-' if c >= 0 else '+'} {abs(float(c))!r})" for k, t, c in each]
        return formulas.normal(" + ".join([letters[0], *parts]))

    def law(self, y: tuple[float, float] | None = None) -> Law:
        """The candidate as a law, with priors that are wide over the range of y.

        They are not the posterior: the observations that suggested the law may not be used twice. The constant is
        normal around the middle, half the range wide; terms count from their mean over the points measured, and a
        coefficient is normal around 0, such that its term sways by about half the range there.

        Args:
            y: lowest and highest value that the quantity may take; None for the range of the observations, which is all
                that they give to the prior then.

        Raises:
            ValueError: not low < high.
        """
        low, high = self.span if y is None else y
        if not low < high:
            raise ValueError(f"the range of y is (low, high) with low < high; got {(low, high)}.")
        letters, half = _letters(len(self.terms), self.inputs), 0.5 * (high - low)
        prior = {letters[0]: dist.Normal(0.5 * (low + high), half)}
        units = {letters[0]: "y"}
        sway = np.asarray(TermLibrary(self.terms, self.inputs)(self.x)).std(axis=0) if self.terms else ()
        for letter, term, width in zip(letters[1:], self.terms, sway, strict=True):
            prior[letter], units[letter] = dist.Normal(0.0, half / float(width)), f"y / ({term})"
        return formulas.formula(self.text, prior, units, self.inputs, "sparse regression over terms")


def _bracketed(term: str) -> str:
    return f"({term})" if any(sign in term for sign in (" + ", " - ")) or term.startswith("-") else term


def _letters(count: int, inputs: Sequence[str]) -> list[str]:
    """Names of constant and coefficients, none of which names an input."""
    wanted = ["C", *(f"k{i + 1}" for i in range(count))]
    return [f"{name}_" if name in inputs else name for name in wanted]


@dataclass(frozen=True)
class Proposals:
    """Candidates in the order of their probability.

    Attributes:
        best: the most probable ones.
        inclusion: posterior probability of each term of the library that it is part of the law.
        num_subsets: number of subsets that were weighed.
        complete: whether these were all; else probabilities are among those of a greedy search.
    """

    best: tuple[Proposal, ...]
    inclusion: dict[str, float]
    num_subsets: int
    complete: bool

    def __getitem__(self, index: int) -> Proposal:
        return self.best[index]

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self.best)

    def __len__(self) -> int:
        return len(self.best)

    def __str__(self) -> str:
        how = f"all {self.num_subsets} subsets" if self.complete else f"{self.num_subsets} subsets of a greedy search"
        lines = [f"probability  left-out error  formula   (among {how})"]
        lines += [f"{p.probability:11.3f}  {p.rmse:14.4g}  {p.formula}" for p in self.best]
        lines.append("in the law:  " + ", ".join(f"{name}: {p:.2f}" for name, p in self.inclusion.items()))
        return "\n".join(lines)


def discover_laws(
    x: ArrayLike | Observations,
    y: ArrayLike | None = None,
    terms: TermLibrary | None = None,
    *,
    max_terms: int = 4,
    keep: int = 5,
    width: float = 30.0,
    limit: int = 200_000,
    beam: int = 200,
) -> Proposals:
    """Which few terms explain the observations, and how probable each choice is.

    Observations and terms are scaled to mean 0 and standard deviation 1. Constant and coefficients are normal with
    variance width^2 sigma^2, sigma^2 is inverse gamma (1, 0.01), so the evidence of a subset is that of a
    multivariate t (Bishop 2006, sec. 3.5). Every number of terms 0..max_terms is equally probable before, and shared
    evenly among the subsets of that number, so that a large library earns nothing by its size (Scott & Berger 2010,
    Ann. Statist. 38, 2587).

    Args:
        x: (n, d) inputs; or observations, of which the measured ones count.
        y: (n,) observed values; None with `Observations`.
        terms: from `term_library`; None for powers of up to 3 of inputs called x, or x0, x1, ...
        max_terms: largest number of terms besides the constant.
        keep: number of candidates returned.
        width: prior standard deviation of a coefficient in units of the noise: the signal to noise to be expected. Too
            small a width favours terms that need no large coefficients; terms that resemble each other cancel with
            large ones.
        limit: largest number of subsets weighed one by one; beyond it, a greedy search widens the `beam` best ones by
            one term at a time, and `Proposals.complete` is False.
        beam: see `limit`.

    Raises:
        ValueError: fewer than 3 observations or not finite, observations of unequal known variance, observations that
            are all the same, a term that is not finite or the same at all points, or numbers out of range.

    Example:
        >>> x = jnp.linspace(-1.0, 1.0, 9)[:, None]
        >>> discover_laws(x, 1.0 + 2.0 * x[:, 0], term_library(degree=3))[0].terms
        ('x',)
    """
    points, values = _taken(x, y)
    if not (min(max_terms, keep, limit, beam) >= 1 and width > 0):
        raise ValueError(f"all must be at least 1, width > 0; got {max_terms=}, {keep=}, {limit=}, {beam=}, {width=}.")
    if terms is None:
        dim = points.shape[1]
        terms = term_library(inputs=["x"] if dim == 1 else [f"x{i}" for i in range(dim)], degree=3)
    if len(terms.inputs) != points.shape[1]:
        raise ValueError(f"the library has the inputs {list(terms.inputs)}, the points have {points.shape[1]} columns.")
    table = _columns(terms, points)
    count = len(terms.names)
    scaled = scaled_to_unit(table, values)
    weigh = functools.partial(log_evidences, jnp.asarray(scaled.design), jnp.asarray(scaled.target), width)
    most = min(max_terms, count)
    total = sum(math.comb(count, k) for k in range(most + 1))
    subsets, evidence = all_subsets(weigh, count, most) if total <= limit else greedy_subsets(weigh, count, most, beam)

    sizes = (subsets <= count).sum(axis=1)
    log_posterior = evidence - np.log([(most + 1) * math.comb(count, k) for k in range(most + 1)])[sizes]
    share = np.exp(log_posterior - log_posterior.max())
    share /= share.sum()
    inclusion = {name: float(share[(subsets == j + 1).any(axis=1)].sum()) for j, name in enumerate(terms.names)}

    def proposal(i: int) -> Proposal:
        chosen = subsets[i][subsets[i] <= count]
        mean, sd, rmse = coefficients_of(scaled, chosen, width)
        return Proposal(
            terms=tuple(terms.names[j - 1] for j in chosen),
            mean=mean,
            sd=sd,
            log_evidence=float(evidence[i] - len(values) * np.log(scaled.scale)),
            probability=float(share[i]),
            rmse=rmse,
            inputs=terms.inputs,
            x=points,
            span=(float(values.min()), float(values.max())),
        )

    order = np.argsort(-log_posterior, kind="stable")[:keep]
    return Proposals(tuple(proposal(int(i)) for i in order), inclusion, len(subsets), total <= limit)


def _taken(x: ArrayLike | Observations, y: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(x, Observations):
        if y is not None:
            raise ValueError("Observations hold their values: leave y out.")
        measured = np.asarray(x.measured)
        if np.ptp(np.asarray(x.noise)[measured]) > 0:
            raise ValueError(
                "the observations have known variances that differ, and here all weigh the same: pass x and y."
            )
        points, values = np.asarray(x.x)[measured], np.asarray(x.y)[measured]
    else:
        points, values = inputs.numbers(x, "x", missing=True), inputs.numbers(y, "y", missing=True)
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if points.ndim != 2 or values.shape != points.shape[:1] or len(values) < 3:
        raise ValueError(f"x (n, d) and y (n,) with n >= 3 needed; got shapes {points.shape} and {values.shape}.")
    if not (np.isfinite(points).all() and np.isfinite(values).all()):
        raise ValueError("points and observations must be finite: leave failed observations out.")
    if not values.std() > 0:
        raise ValueError("all observations are the same: there is nothing to explain.")
    return points, values


def _columns(terms: TermLibrary, points: np.ndarray) -> np.ndarray:
    table = np.asarray(terms(points))
    for name, column in zip(terms.names, table.T, strict=True):
        if not np.isfinite(column).all():
            point = points[~np.isfinite(column)][0].tolist()
            raise ValueError(f"the term {name!r} is not finite at {point}: leave it out, or shift its input.")
        if column.std() <= 1e-12 * np.abs(column).max():
            raise ValueError(f"the term {name!r} is the same at all points, as the constant is: leave it out.")
    return table
