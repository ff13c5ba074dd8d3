"""Cholesky algebra that neither crawls nor stalls, with reverse-mode rules.

LAPACK calls inside compiled loops under `vmap` can stall a CPU for good, so small matrices are factored by loops of
plain JAX operations (one vector-matrix product a row); a matrix above `LARGE` rows goes to LAPACK, one at a time. On an
accelerator, where every row would be several launches, all of them go to the vendor's batched routines.
All functions take one matrix; batch them with `jax.vmap` or `jax.lax.map`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

LARGE = 512
"""Matrices with more rows than this are factored by LAPACK."""

BY_ROWS = ("cpu",)
"""Platforms on which small matrices are factored by loops over rows (`benchmarks/accelerator.py`, part `algebra`)."""

BLOCK = 32
"""Rows per block of the blocked algorithms (measured fastest or equal for 64 to 256 rows)."""


_dot = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
"""In float32 an accelerator would round factors to ten bits, which no jitter of ours makes up for."""


def _by_rows(n: int) -> bool:
    return n <= LARGE and jax.default_backend() in BY_ROWS


def _in_blocks(n: int) -> tuple[int, int]:
    """Number of blocks of rows and rows in each: equal ones, so that a loop over them compiles one of them.

    The last block is filled up, by less than one row for each block.
    """
    blocks = 1 if n <= 2 * BLOCK else -(-n // BLOCK)
    return blocks, -(-n // blocks)


def _eliminate_rows(panel: Array, start: Array | int) -> Array:
    """Rows `start` and below of L^-1 [K | B], from the same rows with all that lies above them eliminated."""

    def row(j: Array, rows: Array) -> Array:
        value = panel[j] - _dot(lax.dynamic_index_in_dim(rows, start + j, 1, keepdims=False), rows)
        pivot = lax.dynamic_index_in_dim(value, start + j, 0, keepdims=False)
        # A pivot that is not positive means the factorisation failed: NaN would poison gradients, so the row is
        # scaled by 1 and the failure is read off the diagonal, which then is not positive.
        scale = jnp.where(pivot > 0, lax.rsqrt(jnp.where(pivot > 0, pivot, 1.0)), 1.0)
        return lax.dynamic_update_index_in_dim(rows, value * scale, j, 0)

    return lax.fori_loop(0, panel.shape[0], row, jnp.zeros_like(panel))


def _eliminate(k: Array, b: Array) -> tuple[Array, Array]:
    """Forward elimination of [K | B]: returns (L^T, L^-1 B), left-looking, by blocks of rows."""
    n = k.shape[0]
    blocks, size = _in_blocks(n)
    if blocks == 1:
        done = _eliminate_rows(jnp.concatenate([k, b], axis=1), 0)
        return jnp.triu(done[:, :n]), done[:, n:]
    more = blocks * size - n  # rows of an identity below, which change nothing above
    a = jnp.concatenate([jnp.pad(k, (0, more)), jnp.pad(b, ((0, more), (0, 0)))], axis=1)
    filler = jnp.arange(n, n + more)
    a = a.at[filler, filler].set(1.0)

    def block(i: Array, done: Array) -> Array:
        def less(j: Array, panel: Array) -> Array:
            above = lax.dynamic_slice_in_dim(done, j * size, size, 0)
            return panel - _dot(lax.dynamic_slice_in_dim(above, i * size, size, 1).T, above)

        panel = lax.fori_loop(0, i, less, lax.dynamic_slice_in_dim(a, i * size, size, 0))
        return lax.dynamic_update_slice_in_dim(done, _eliminate_rows(panel, i * size), i * size, 0)

    done = lax.fori_loop(0, blocks, block, jnp.zeros_like(a))[:n]
    return jnp.triu(done[:, :n]), done[:, n + more :]


def _positive(diagonal: Array) -> Array:
    return jnp.all((diagonal > 0) & jnp.isfinite(diagonal))


def _substitute(lower: Array, b: Array) -> Array:
    """L^-1 B by forward substitution in blocks of rows."""
    n = lower.shape[0]
    blocks, size = _in_blocks(n)

    def rows_of(corner: Array, panel: Array) -> Array:
        def row(j: Array, rows: Array) -> Array:
            value = (panel[j] - _dot(corner[j], rows)) / corner[j, j]
            return lax.dynamic_update_index_in_dim(rows, value, j, 0)

        return lax.fori_loop(0, size, row, jnp.zeros_like(panel))

    if blocks == 1:
        return rows_of(lower, b)
    more = blocks * size - n
    filler = jnp.arange(n, n + more)
    lower = jnp.pad(lower, (0, more)).at[filler, filler].set(1.0)
    b = jnp.pad(b, ((0, more), (0, 0)))

    def block(i: Array, done: Array) -> Array:
        left = lax.dynamic_slice_in_dim(lower, i * size, size, 0)

        def less(j: Array, panel: Array) -> Array:
            above = lax.dynamic_slice_in_dim(done, j * size, size, 0)
            return panel - _dot(lax.dynamic_slice_in_dim(left, j * size, size, 1), above)

        panel = lax.fori_loop(0, i, less, lax.dynamic_slice_in_dim(b, i * size, size, 0))
        corner = lax.dynamic_slice_in_dim(left, i * size, size, 1)
        return lax.dynamic_update_slice_in_dim(done, rows_of(corner, panel), i * size, 0)

    return lax.fori_loop(0, blocks, block, jnp.zeros_like(b))[:n]


def _substitute_transposed(lower: Array, b: Array) -> Array:
    """L^-T B, by turning the upper triangular system upside down."""
    return _substitute(lower.T[::-1, ::-1], b[::-1])[::-1]


def _vendor_cholesky(k: Array) -> Array:
    return lax.linalg.cholesky(k, symmetrize_input=False)


def _vendor_solve(lower: Array, b: Array) -> Array:
    return lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)


def _vendor_solve_transposed(lower: Array, b: Array) -> Array:
    return lax.linalg.triangular_solve(lower, b, left_side=True, lower=True, transpose_a=True)


_lapack_cholesky = jax.custom_batching.sequential_vmap(_vendor_cholesky)
_lapack_solve = jax.custom_batching.sequential_vmap(_vendor_solve)
_lapack_solve_transposed = jax.custom_batching.sequential_vmap(_vendor_solve_transposed)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _raw_cholesky(k: Array) -> Array:
    if _by_rows(k.shape[0]):
        return _eliminate(k, jnp.zeros((k.shape[0], 0), k.dtype))[0].T
    return _lapack_cholesky(k) if _on_cpu() else _vendor_cholesky(k)


def _raw_solve(lower: Array, b: Array) -> Array:
    if _by_rows(lower.shape[0]):
        return _substitute(lower, b)
    return _lapack_solve(lower, b) if _on_cpu() else _vendor_solve(lower, b)


def _raw_solve_transposed(lower: Array, b: Array) -> Array:
    if _by_rows(lower.shape[0]):
        return _substitute_transposed(lower, b)
    return _lapack_solve_transposed(lower, b) if _on_cpu() else _vendor_solve_transposed(lower, b)


def cholesky(k: Array) -> tuple[Array, Array]:
    """Lower Cholesky factor of a symmetric positive definite matrix.

    Args:
        k: (n, n) symmetric.

    Returns:
        L (n, n) with K = L L^T, and () bool: whether every pivot was positive. Where it is False the factor holds
        finite numbers without meaning. Gradients: reverse mode.
    """
    lower = _cholesky(jnp.asarray(k))
    ok = _positive(jnp.diagonal(lower))
    # LAPACK marks failure by NaN; an identity keeps what follows finite.
    return jnp.where(jnp.isfinite(lower), lower, jnp.eye(k.shape[0], dtype=k.dtype)), ok


@jax.custom_vjp
def _cholesky(k: Array) -> Array:
    return _raw_cholesky(k)


def _cholesky_forward(k: Array) -> tuple[Array, Array]:
    lower = _raw_cholesky(k)
    return lower, lower


def _cholesky_backward(lower: Array, grad: Array) -> tuple[Array]:
    # Murray (2016), arXiv:1602.07527, eq. 10: K_bar = L^-T Phi(L^T L_bar) L^-1, symmetrised.
    inner = jnp.tril(_dot(lower.T, grad))
    inner = inner - 0.5 * jnp.diag(jnp.diagonal(inner))
    half = _raw_solve_transposed(lower, inner)
    full = _raw_solve_transposed(lower, half.T).T
    return (0.5 * (full + full.T),)


_cholesky.defvjp(_cholesky_forward, _cholesky_backward)


def solve_lower(lower: Array, b: Array) -> Array:
    """Solve L X = B.

    Args:
        lower: (n, n) lower triangular with a non-zero diagonal.
        b: (n,) or (n, m).

    Returns:
        X with the shape of b. Gradients: reverse mode, with respect to both.
    """
    lower, b = jnp.asarray(lower), jnp.asarray(b)
    return _solve_lower(lower, b[:, None])[:, 0] if b.ndim == 1 else _solve_lower(lower, b)


def solve_upper(lower: Array, b: Array) -> Array:
    """Solve L^T X = B for the lower factor L. Shapes and gradients as in `solve_lower`."""
    lower, b = jnp.asarray(lower), jnp.asarray(b)
    return _solve_upper(lower, b[:, None])[:, 0] if b.ndim == 1 else _solve_upper(lower, b)


@jax.custom_vjp
def _solve_lower(lower: Array, b: Array) -> Array:
    return _raw_solve(lower, b)


def _solve_lower_forward(lower: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _raw_solve(lower, b)
    return x, (lower, x)


def _solve_lower_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    lower, x = saved
    b_bar = _raw_solve_transposed(lower, grad)
    return -jnp.tril(_dot(b_bar, x.T)), b_bar


_solve_lower.defvjp(_solve_lower_forward, _solve_lower_backward)


@jax.custom_vjp
def _solve_upper(lower: Array, b: Array) -> Array:
    return _raw_solve_transposed(lower, b)


def _solve_upper_forward(lower: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _raw_solve_transposed(lower, b)
    return x, (lower, x)


def _solve_upper_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    lower, x = saved
    b_bar = _raw_solve(lower, grad)
    return -jnp.tril(_dot(x, b_bar.T)), b_bar


_solve_upper.defvjp(_solve_upper_forward, _solve_upper_backward)


def _whiten(k: Array, r: Array, with_inverse: bool) -> tuple[Array, Array, Array]:
    """(diagonal of L, L^-1 r, L^-1 or an empty array) of one elimination."""
    n = k.shape[0]
    extra = [r[:, None], jnp.eye(n, dtype=k.dtype)] if with_inverse else [r[:, None]]
    if not _by_rows(n):
        lower = _raw_cholesky(k)
        reduced = _raw_solve(lower, jnp.concatenate(extra, axis=1))
        return jnp.diagonal(lower), reduced[:, 0], reduced[:, 1:]
    upper, reduced = _eliminate(k, jnp.concatenate(extra, axis=1))
    return jnp.diagonal(upper), reduced[:, 0], reduced[:, 1:]


def _log_density(diagonal: Array, white: Array) -> tuple[Array, Array]:
    ok = _positive(diagonal) & jnp.isfinite(white).all()
    safe = jnp.where(ok, diagonal, 1.0)
    value = -0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(safe))
    return jnp.where(ok, value, -jnp.inf), ok


@jax.custom_vjp
def centred_log_density(k: Array, r: Array) -> Array:
    """log N(r | 0, K) without the constant -n/2 log(2 pi), with its analytic gradient.

    d/dK = (a a^T - K^-1) / 2 with a = K^-1 r and d/dr = -a (Rasmussen & Williams 2006, eq. 5.9). One elimination
    gives value and gradient. Under a failed factorisation the value is -inf and the gradients are zero.

    Args:
        k: (n, n) symmetric covariance.
        r: (n,) residual.

    Returns:
        () log density; -inf where K has no Cholesky factor.
    """
    diagonal, white, _ = _whiten(k, r, with_inverse=False)
    return _log_density(diagonal, white)[0]


def _centred_forward(k: Array, r: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    diagonal, white, inverse = _whiten(k, r, with_inverse=True)
    value, ok = _log_density(diagonal, white)
    return value, (white, inverse, ok)


def _centred_backward(saved: tuple[Array, Array, Array], grad: Array) -> tuple[Array, Array]:
    white, inverse, ok = saved
    weights = _dot(white, inverse)
    k_bar = 0.5 * (weights[:, None] * weights[None, :] - _dot(inverse.T, inverse))
    grad = jnp.where(ok, grad, 0.0)
    return jnp.where(ok, grad * k_bar, 0.0), jnp.where(ok, -grad * weights, 0.0)


centred_log_density.defvjp(_centred_forward, _centred_backward)


map_on_cpu_batch = 8
"""Draws handled together when a batch is mapped on a CPU, where batched products of small matrices are slow."""


def over_draws(function, *args):
    """Map a function over the leading axis of every argument: `vmap` on accelerators, blocks of 8 on a CPU.

    Args:
        function: takes one slice of each argument.
        *args: arrays or pytrees with one common leading axis.

    Returns:
        The stacked results.
    """
    if jax.default_backend() == "cpu":
        return lax.map(lambda a: function(*a), args, batch_size=map_on_cpu_batch)
    return jax.vmap(function)(*args)


def in_chunks(function, x: Array, size: int):
    """Apply a function of many points to blocks of them, one after the other, so that memory stays bounded.

    Args:
        function: takes x (size, d), returns arrays or a pytree of arrays with the points on the leading axis.
        x: (m, d) points; with m <= size the function sees all at once.
        size: points per block; the last block is filled up with the last point.

    Returns:
        What `function(x)` returns.
    """
    count = x.shape[0]
    if count <= size:
        return function(x)
    blocks = -(-count // size)
    index = jnp.minimum(jnp.arange(blocks * size), count - 1).reshape(blocks, size)
    found = lax.map(lambda i: function(x[i]), index)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)


def jitter(dtype) -> float:
    """Relative jitter of the library, eps^(5/8): 1.7e-10 in float64, 4.7e-5 in float32; times the mean diagonal."""
    return float(jnp.finfo(dtype).eps) ** 0.625


__all__ = ["centred_log_density", "cholesky", "in_chunks", "jitter", "over_draws", "solve_lower", "solve_upper"]
