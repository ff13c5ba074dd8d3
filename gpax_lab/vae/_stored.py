"""Examples in an HDF5 file that need not fit into memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gpax_lab.vae._examples import Examples, examples

FIELDS = ("x", "target", "condition", "label", "properties")


class Stored:
    """Data sets of one HDF5 file, of which a chunk is in memory and the next one is being read.

    Every epoch takes blocks of neighbouring rows in a random order, some of them to a chunk, and training shuffles
    within the chunk. The blocks that do not fill a last chunk change from epoch to epoch.

    Attributes:
        path: of the file.
        names: of the data set for each field of `Examples`; those that are not named are left out.
        rows: examples in the file.
        chunk: examples in memory at a time (two chunks, while the next one is read).
        block: neighbouring rows that are read at once.
        seed: of the order.
    """

    def __init__(self, path: Path, names: dict[str, str], rows: int, chunk: int, block: int, seed: int) -> None:
        self.path, self.names, self.rows, self.chunk, self.block, self.seed = path, names, rows, chunk, block, seed

    @property
    def chunks(self) -> int:
        """Chunks in an epoch."""
        return (self.rows // self.block) // (self.chunk // self.block)

    def first(self) -> Examples:
        """The first rows, for a check of what is in the file."""
        return self.blocks([0])

    def epoch(self, number: int) -> Iterator[Examples]:
        """The chunks of one epoch, each read while the one before is worked on."""
        order = np.random.default_rng([self.seed, number]).permutation(self.rows // self.block)
        many = self.chunk // self.block
        groups = [sorted(order[k * many : (k + 1) * many]) for k in range(self.chunks)]
        with ThreadPoolExecutor(1) as reader:
            coming: Future[Examples] = reader.submit(self.blocks, groups[0])
            for after in [*groups[1:], None]:
                ready = coming.result()
                if after is not None:
                    coming = reader.submit(self.blocks, after)
                yield ready

    def blocks(self, blocks: list[int]) -> Examples:
        """The rows of these blocks."""
        import h5py

        with h5py.File(self.path, "r") as file:
            parts = {
                field: np.concatenate([file[name][b * self.block : (b + 1) * self.block] for b in blocks])
                for field, name in self.names.items()
            }
        return examples(**parts)


def stored(
    path: str | Path,
    x: str,
    target: str | None = None,
    condition: str | None = None,
    label: str | None = None,
    properties: str | None = None,
    chunk: int = 10_000,
    block: int = 100,
    seed: int = 0,
) -> Stored:
    """Examples in an HDF5 file, read in chunks while training goes on.

    Args:
        path: of the file.
        x: name of the data set (n, *shape) that the encoder sees.
        target: of the other domain.
        condition: of what is known of every example.
        label: of classes, -1 where not known.
        properties: of continuous properties, NaN where not known.
        chunk: examples in memory at a time; a multiple of the block, or is rounded down to one.
        block: neighbouring rows that stay together; at best what the file is chunked by.
        seed: of the order.

    Returns:
        A `Stored` set, for `train`.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: the file has no data set of that name; the message lists those that it has.
        ValueError: data sets of different lengths, or fewer rows than a block.
    """
    import h5py

    location = Path(path)
    if not location.exists():
        raise FileNotFoundError(f"there is no file {location}.")
    given = zip(FIELDS, (x, target, condition, label, properties), strict=True)
    names = {field: name for field, name in given if name is not None}
    with h5py.File(location, "r") as file:
        there: list[str] = []
        file.visititems(lambda name, item: there.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names.values():
            if not isinstance(file.get(name), h5py.Dataset):
                raise KeyError(f"{location.name} has no data set {name!r}; it has {sorted(there)}.")
        lengths = {name: file[name].shape[0] for name in names.values()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the data sets have different lengths: {lengths}.")
    rows = lengths[x]
    if block < 1 or chunk < 1 or rows < block:
        raise ValueError(f"{rows} rows; block and chunk are 1 or more and a block is no longer than the set.")
    size = min(max(chunk // block, 1), rows // block) * block
    return Stored(location, names, rows, size, block, seed)
