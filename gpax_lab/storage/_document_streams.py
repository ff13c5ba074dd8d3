"""Streams of bluesky documents: data keys, the descriptors made of them, and their events."""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_TABLE = 16
"""Numbers of an array up to which bluesky-tiled-plugins 2.0 keeps it in a table, which takes nested lists only."""

Document = tuple[str, dict[str, Any]]
"""Name and document."""


class Field(NamedTuple):
    """One number, text or array of an event: its data key and its value."""

    key: dict[str, Any]
    value: Any


Fields = dict[str, Field]


def _key(dtype: str, shape: tuple[int, ...], source: str, **more: Any) -> dict[str, Any]:
    told = {name: value for name, value in more.items() if value is not None}
    return {"dtype": dtype, "shape": list(shape), "source": f"gpax_lab journal: {source}", **told}


def number(value: float, source: str, units: str | None = None, **more: Any) -> Field:
    """A float, of which NaN says that there is none."""
    return Field(_key("number", (), source, dtype_numpy="<f8", units=units, **more), float(value))


def integer(value: int, source: str) -> Field:
    """A whole number."""
    return Field(_key("integer", (), source, dtype_numpy="<i8"), int(value))


def boolean(value: bool, source: str) -> Field:
    """Yes or no."""
    return Field(_key("boolean", (), source, dtype_numpy="|b1"), bool(value))


def text(value: str, source: str) -> Field:
    """Words."""
    return Field(_key("string", (), source), str(value))


def array(value: np.ndarray, source: str, units: str | None = None, dims: list[str] | None = None) -> Field:
    """Real numbers of any shape; those of no dimension are one number."""
    value = np.asarray(value)
    dtype = value.dtype.newbyteorder("<").str
    if value.ndim:
        key = _key("array", value.shape, source, dtype_numpy=dtype, units=units, dims=dims)
        return Field(key, value.tolist() if value.ndim > 1 and value.size <= _TABLE else value)
    kind = {"f": "number", "b": "boolean"}.get(value.dtype.kind, "integer")
    return Field(_key(kind, (), source, dtype_numpy=dtype, units=units), value.item())


def names_allowed(value: Any) -> Any:
    """Plain values with names as documents may have them: without dots and strokes."""
    if isinstance(value, Mapping):
        return {str(key).replace(".", "_").replace("/", "_"): names_allowed(item) for key, item in value.items()}
    return [names_allowed(item) for item in value] if isinstance(value, list) else value


class Streams:
    """The streams of one run; a descriptor comes before the first event of each.

    Args:
        namespace: of all uids.

    Attributes:
        counts: events by name of stream.
    """

    def __init__(self, namespace: uuid.UUID) -> None:
        self._namespace = namespace
        self._streams: dict[tuple[str, tuple[Any, ...]], tuple[str, str]] = {}
        self._bases: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def uid(self, *words: Any) -> str:
        """The uid of the document that these words name."""
        return str(uuid.uuid5(self._namespace, " ".join(map(str, words))))

    def event(
        self,
        base: str,
        fields: Fields,
        record: str,
        wall: float,
        objects: Mapping[str, list[str]] | None = None,
        **more: Any,
    ) -> Iterator[Document]:
        """An event, and before it the descriptor of its stream where that is new.

        Args:
            base: name of the stream; data keys of another shape make a stream of their own, `base_2`.
            fields: by data key.
            record: the number of the record that it comes from, and what tells it from others of that record.
            wall: when, in seconds since 1970.
            objects: names of data keys by the thing that they belong to; the first number of each is hinted at.
            more: further entries of the descriptor.
        """
        keys = tuple((n, f.key["dtype"], tuple(f.key["shape"]), f.key.get("dtype_numpy")) for n, f in fields.items())
        if (base, keys) not in self._streams:
            self._bases[base] += 1
            name = base if self._bases[base] == 1 else f"{base}_{self._bases[base]}"
            uid = self.uid("descriptor", name)
            self._streams[base, keys] = name, uid
            yield "descriptor", self._descriptor(name, uid, fields, wall, objects or {"gpax_lab": list(fields)}, more)
        name, descriptor = self._streams[base, keys]
        self.counts[name] += 1
        yield (
            "event",
            {
                "uid": self.uid("event", name, record),
                "descriptor": descriptor,
                "time": wall,
                "seq_num": self.counts[name],
                "data": {key: field.value for key, field in fields.items()},
                "timestamps": dict.fromkeys(fields, wall),
                "filled": {},
            },
        )

    def _descriptor(
        self,
        name: str,
        uid: str,
        fields: Fields,
        wall: float,
        objects: Mapping[str, list[str]],
        more: Mapping[str, Any],
    ) -> dict[str, Any]:
        owner = {key: thing for thing, keys in objects.items() for key in keys}
        return {
            "uid": uid,
            "run_start": self.uid("start"),
            "time": wall,
            "name": name,
            "data_keys": {key: {**field.key, "object_name": owner[key]} for key, field in fields.items()},
            "object_keys": dict(objects),
            "hints": {
                thing: {"fields": [key for key in keys if fields[key].key["dtype"] in ("number", "integer")][:1]}
                for thing, keys in objects.items()
            },
            "configuration": {},
            **more,
        }
