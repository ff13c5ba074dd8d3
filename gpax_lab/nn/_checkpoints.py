"""Training that survives being interrupted."""

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.nn._training import TrainState

SETTINGS = "settings.json"


class CheckpointMismatch(ValueError):
    """The folder holds a run with other settings."""


class Checkpointer:
    """A folder of checkpoints by orbax, the newest two of which are kept, and the settings in words beside them.

    Args:
        folder: where they are kept; made if it is not there.
        settings: what decides the result, by name, in what JSON knows; a run is gone on with only where all of it
            agrees.
        every: rounds between two checkpoints.
        agree: (entry, entry of the folder) -> whether they mean the same.

    Raises:
        CheckpointMismatch: the folder holds a run with other settings.
    """

    def __init__(
        self, folder: str | Path, settings: dict[str, Any], every: int, agree: Callable[[Any, Any], bool] = operator.eq
    ) -> None:
        import orbax.checkpoint as ocp

        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / SETTINGS
        if note.exists():
            then = json.loads(note.read_text())
            names = sorted(settings.keys() | then.keys())
            differs = [
                name for name in names if not (name in settings and name in then and agree(settings[name], then[name]))
            ]
            if differs:
                raise CheckpointMismatch(
                    f"{self.folder} holds a run with other settings ({', '.join(differs)}): "
                    "give another folder, or remove this one."
                )
        elif any(path.name.isdigit() for path in self.folder.iterdir()):
            raise CheckpointMismatch(f"{self.folder} holds checkpoints without their settings: give another folder.")
        else:
            written = note.with_suffix(".part")
            written.write_text(json.dumps(settings))
            written.replace(note)
        self.every = every
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(self.folder, options=options)
        self.ocp = ocp

    def resume(self, state: TrainState, note: Any) -> tuple[TrainState, list[Any]]:
        """The newest state, and the history up to it; the state given, and an empty history, where there is none.

        Args:
            state: before the first round.
            note: of a round, for its structure; all its numbers have the shape of the state's score.
        """
        step = self.manager.latest_step()
        if step is None:
            return state, []
        leaves, structure = jax.tree.flatten(note)
        blank = np.zeros((step, len(leaves), *state.score.shape))
        kept = self.manager.restore(step, args=self.ocp.args.StandardRestore((_untyped(state), blank)))
        found, table = kept
        state = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(_typed_as(found, state)))
        return state, [jax.tree.unflatten(structure, list(row)) for row in np.asarray(table)]

    def keep(self, state: TrainState, history: list[Any], last: bool) -> None:
        """Write state and history, if it is time."""
        if len(history) % self.every and not last:
            return
        table = np.array([[np.asarray(leaf) for leaf in jax.tree.leaves(note)] for note in history], float)
        self.manager.save(len(history), args=self.ocp.args.StandardSave((_untyped(state), table)))

    def close(self) -> None:
        """Wait for what is being written."""
        self.manager.wait_until_finished()
        self.manager.close()


def _untyped(state: TrainState) -> TrainState:
    """The state without typed keys, which files do not know."""
    return state._replace(key=jax.random.key_data(state.key)) if _is_typed(state.key) else state


def _typed_as(found: Any, like: TrainState) -> Any:
    if not _is_typed(like.key):
        return found
    return found._replace(key=jax.random.wrap_key_data(jnp.asarray(found.key), impl=jax.random.key_impl(like.key)))


def _is_typed(key: Any) -> bool:
    return key is not None and bool(jnp.issubdtype(key.dtype, jax.dtypes.prng_key))
