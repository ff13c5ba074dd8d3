"""Training that survives being interrupted."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.vae._elbo import ELBOTerms

PLAN = "plan.json"


class CheckpointMismatch(ValueError):
    """The folder holds a run with other settings."""


class Checkpointer:
    """A folder of checkpoints by orbax, the newest two of which are kept, and a plan in words beside them."""

    def __init__(self, folder: str | Path, plan: dict[str, Any], every: int) -> None:
        import orbax.checkpoint as ocp

        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / PLAN
        if note.exists():
            found = json.loads(note.read_text())
            differs = sorted(name for name in plan if found.get(name) != plan[name])
            if differs:
                raise CheckpointMismatch(
                    f"{self.folder} holds a run with other settings ({', '.join(differs)}): "
                    "give another folder, or remove this one."
                )
        note.write_text(json.dumps(plan))
        self.every = every
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(self.folder, options=options)
        self.ocp = ocp

    def resume(self, state: Any, rows: list) -> tuple[Any, list]:
        """The newest state and the history up to it; what was given where there is none."""
        step = self.manager.latest_step()
        if step is None:
            return state, rows
        width = () if state.score.ndim == 0 else state.score.shape
        blank = np.zeros((step, len(ELBOTerms._fields) + 1, *width))
        kept = self.manager.restore(step, args=self.ocp.args.StandardRestore((_plain(state), blank)))
        found, table = kept
        state = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(_keyed(found, state)))
        return state, [(ELBOTerms(*row[:-1]), row[-1]) for row in np.asarray(table)]

    def keep(self, state: Any, rows: list, last: bool) -> None:
        """Write, if it is time."""
        if len(rows) % self.every and not last:
            return
        table = np.array([[*[np.asarray(term) for term in terms], held] for terms, held in rows], float)
        self.manager.save(len(rows), args=self.ocp.args.StandardSave((_plain(state), table)))

    def close(self) -> None:
        """Wait for what is being written."""
        self.manager.wait_until_finished()
        self.manager.close()


def _plain(state: Any) -> Any:
    """The state without typed keys, which files do not know."""
    return state._replace(key=jax.random.key_data(state.key)) if _typed(state.key) else state


def _keyed(found: Any, like: Any) -> Any:
    return found._replace(key=jax.random.wrap_key_data(jnp.asarray(found.key))) if _typed(like.key) else found


def _typed(key: jax.Array) -> bool:
    return bool(jnp.issubdtype(key.dtype, jax.dtypes.prng_key))
