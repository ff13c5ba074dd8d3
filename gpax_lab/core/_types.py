"""Shapes in annotations: jaxtyping's words where it is installed, as in the tests, which check them; else no shapes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from jax import typing as jax_typing

if TYPE_CHECKING:
    from jaxtyping import Bool, Complex, Float, Int, Int8, Key, Num, Shaped
else:
    try:
        from jaxtyping import Bool, Complex, Float, Int, Int8, Key, Num, Shaped
    except ModuleNotFoundError:

        class _Unchecked:
            """`Float[Array, "n d"]` is `Array`."""

            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Complex = Float = Int = Int8 = Key = Num = Shaped = _Unchecked


@runtime_checkable
class _HasArray(Protocol):
    """What numpy can make an array of: a data frame, say."""

    def __array__(self) -> Any: ...


ArrayLike: TypeAlias = jax_typing.ArrayLike | Sequence[Any] | _HasArray
"""What becomes an array: arrays of JAX and numpy, numbers, lists and tuples of them, data frames."""

__all__ = ["ArrayLike", "Bool", "Complex", "Float", "Int", "Int8", "Key", "Num", "Shaped"]
