"""Shapes in annotations: jaxtyping's words where it is installed, as in the tests, which check them; else no shapes."""

from typing import TYPE_CHECKING, Any

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

__all__ = ["Bool", "Complex", "Float", "Int", "Int8", "Key", "Num", "Shaped"]
