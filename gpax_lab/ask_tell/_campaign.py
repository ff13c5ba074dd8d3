"""A campaign that is asked and told."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from gpax_lab.ask_tell import _tables as tables
from gpax_lab.ask_tell._points import Best, Points
from gpax_lab.ask_tell._words import standing_in_words
from gpax_lab.core._inputs import points_of, value_table, variances
from gpax_lab.experiment import State
from gpax_lab.experiment._asking import Asking, Told
from gpax_lab.experiment._contracts import Journal


class AskTell:
    """A campaign that hands out points and takes what was measured, in any order; made by `open_campaign`.

    Every point has a number, its `id`, in the order in which points are handed out or told; `to_pandas` shows them all.
    May be used by several threads. As a context manager it writes the HDF5 file and closes the journal when left.

    Args:
        asking: what follows from what.
        journal: where all of it is kept.
        names: (d,) of the inputs.
        units: (d,) of the inputs.
        output: name and unit of what is measured.

    Attributes:
        names: (d,) of the inputs.
        units: (d,) of the inputs.
        output: name and unit of what is measured.
        closed: whether the journal is closed.
    """

    def __init__(
        self, asking: Asking, journal: Journal, names: Sequence[str], units: Sequence[str], output: tuple[str, str]
    ) -> None:
        self.names, self.units, self.output = tuple(names), tuple(units), output
        self._asking, self._journal, self._lock = asking, journal, threading.RLock()
        self.closed = False

    # Asking.

    def ask(self, n: int | None = None) -> Points:
        """Points to measure next, in the journal before they are returned.

        First the seeds. Then the experiment proposes a batch whenever the points of the last one are used up, from all
        that was told before; a batch that is larger than n is kept for the next time. Points that are under way are
        known to be, so that asking again before telling gives other points.

        Args:
            n: how many; None for what is left of the last batch, or else the next batch, and for all seeds at first.
                Fewer come back where no more are left.

        Returns:
            Points (n, d).

        Raises:
            ValueError: nothing is known to propose from.
            NothingLeft: (a ValueError) every point of a pool is used up.
        """
        with self._lock:
            return self._points(self._asking.ask(n))

    def _ask_exactly(self, n: int | None, vet: Callable[[np.ndarray], None]) -> Points:
        with self._lock:
            return self._points(self._asking.ask(n, True, vet))

    def _take(self, x: np.ndarray) -> int:
        """Number of a point (d,) of somebody's own, which is under way from now on."""
        with self._lock:
            return self._asking.numbers[self._asking.take(x)]

    @property
    def waiting(self) -> Points:
        """Points that were handed out and are not answered."""
        with self._lock:
            return self._points(self._asking.waiting())

    def _points(self, tokens: Sequence[str]) -> Points:
        at, number = self._asking.told.asked_at, self._asking.numbers
        x = np.array([np.asarray(at[t], np.float64) for t in tokens]).reshape(-1, len(self.names))
        return Points(x, tuple(number[t] for t in tokens), self.names, self.units, self.output)

    # Telling.

    def tell(
        self,
        x: Any = None,
        y: Any = None,
        noise: Any = None,
        *,
        ids: Any = None,
        at: Any = None,
        by: str = "",
    ) -> None:
        """Take in measurements, in any order and any portion; on the disk when this returns. Nothing is fitted yet.

        A point that was asked for is known by its number, or by its position: the very one, or the nearest one within
        the candidates' tolerance, and is then learned where it was measured. Any other point is one more observation.

        Args:
            x: `Points` as they were handed out; or (n, d) positions in the campaign's units, also (d,); or a table: a
                pandas data frame whose columns have the names of the inputs, or numbers of points as index or column
                `id`, and a Dataset or DataArray of xarray. Rows of a table without a value are not measured yet.
            y: (n,) values; NaN, None or masked where a measurement failed. Of a table the name of the column, by
                default that of the output.
            noise: (n,) variances or one for all, in the unit of y squared; 0 or None where unknown. Of a table also the
                name of a column.
            ids: (n,) numbers of the points that are answered, in place of x.
            at: (n, d) where they were measured, of points given by number.
            by: who tells it, for the journal.

        Raises:
            ValueError: shapes disagree, there is no such number, it was answered with another value, or a position is
                far outside of where the candidates lie; nothing is recorded.
        """
        with self._lock:
            rows = self._rows(x, y, noise, ids, at)
            if rows:
                self._asking.tell([row._replace(by=by) for row in rows])

    def _tell_rows(self, rows: Sequence[tuple[int | None, np.ndarray | None, float]]) -> None:
        """Number, position and value of each measurement: a position of a known point is where it was measured."""
        with self._lock:
            told: list[Told] = []
            for number, x, y in rows:
                at = None if number is None or x is None else x[None]
                where = np.full((1, len(self.names)), np.nan) if x is None or number is not None else x[None]
                told += self._told([number], where, np.array([y]), np.zeros(1), at, told)
            if told:
                self._asking.tell(told)

    def _is_open(self, number: int) -> bool:
        with self._lock:
            return self._token(number) not in self._asking.told.answers

    def _asked_at(self, number: int) -> np.ndarray:
        with self._lock:
            return self._asking.asked_at(self._token(number))

    def _rows(self, x: Any, y: Any, noise: Any, ids: Any, at: Any) -> list[Told]:
        if isinstance(x, Points):
            x, ids = None, x.ids
        if x is not None and tables.is_table(x):
            found = tables.rows_of(x, self.names, self.output[0], y, noise)
            return self._told(found.ids, found.x, found.y, found.noise, None)
        if ids is not None:
            if x is not None:
                raise ValueError("points are told by ids=... or by their positions x, not by both; at=... is where.")
            numbers: list[int | None] = [int(number) for number in np.atleast_1d(np.asarray(ids))]
            points = np.full((len(numbers), len(self.names)), np.nan)
        else:
            if x is None:
                raise ValueError("tell(x, y): say which points were measured, x or ids=..., and what they gave, y.")
            if at is not None:
                raise ValueError("at=... goes with ids=...; x is where it was measured already.")
            points = points_of(x, len(self.names), np.float64, "x", apart=False)
            numbers = [None] * len(points)
        if y is None:
            raise ValueError("tell(x, y): y is missing; a measurement that failed is NaN, or fail(id).")
        values = value_table(y, len(points), np.float64, 1)
        spread = variances(noise, len(points), np.float64, ~np.isfinite(values))
        there = None if at is None else points_of(at, len(self.names), np.float64, "at", apart=False)
        if there is not None and len(there) != len(points):
            raise ValueError(f"at has {len(there)} positions for {len(points)} points.")
        return self._told(numbers, points, values, spread, there)

    def _told(
        self,
        ids: Sequence[int | None],
        x: np.ndarray,
        y: np.ndarray,
        noise: np.ndarray,
        at: np.ndarray | None,
        before: Sequence[Told] = (),
    ) -> list[Told]:
        rows: list[Told] = []
        told, taken = self._asking.told, {row.token for row in before if row.token}
        for i, number in enumerate(ids):
            value, place = float(y[i]), None if at is None else at[i]
            if number is None:
                if not np.isfinite(x[i]).all():
                    raise ValueError(f"row {i} says neither which point it answers nor a position.")
                token = self._asking.answered_by(x[i], taken)
                place = x[i]
            else:
                token = self._token(number)
            if number is not None and (token in told.answers or token in taken):
                if token in taken or not _same(told.answers[token].y, value):
                    raise ValueError(
                        f"point {number} has been answered: tell a second measurement by its position x, and discard "
                        "the first one if it was bad."
                    )
                continue  # told again by a program that did not hear that it had arrived
            taken |= {token} if token else set()
            asked = self._asking.asked_at(token) if token else x[i]
            place = None if place is None or np.array_equal(place, asked) else place
            reason = "" if np.isfinite(value) else "told as failed"
            rows.append(Told(token, asked, value if np.isfinite(value) else np.nan, float(noise[i]), place, reason))
        return rows

    def _token(self, number: int) -> str:
        """Of a point by its number.

        Raises:
            ValueError: there is none.
        """
        tokens = self._asking.tokens
        if not 0 <= number < len(tokens):
            raise ValueError(f"there is no point {number}: {len(tokens)} are known so far.")
        return tokens[number]

    def fail(self, id: int, reason: str = "", by: str = "") -> None:
        """A point that was asked for can not be measured; durable when this returns. It is not proposed again.

        Raises:
            ValueError: there is no such point, or it has been answered.
        """
        with self._lock:
            token = self._token(id)
            if token in self._asking.told.answers:
                raise ValueError(f"point {id} has been answered; discard it, if that was wrong.")
            text = reason or "told as failed"
            self._asking.tell([Told(token, self._asking.asked_at(token), np.nan, reason=text, by=by)])

    def discard(self, id: int, reason: str = "", by: str = "") -> None:
        """Mark a past measurement as bad; durable when this returns, and the model is fitted anew without it.

        It becomes a failed one, whose point is not proposed again. A second measurement there is told by its position.

        Raises:
            ValueError: there is no such point, or it has not been measured.
        """
        with self._lock:
            token = self._token(id)
            answer = self._asking.told.answers.get(token)
            if answer is None:
                raise ValueError(f"point {id} has not been measured: fail({id}) says that it will not be.")
            if token not in self._asking.told.discarded and np.isfinite(answer.y):
                self._asking.discard(token, reason, by)

    # Looking.

    @property
    def state(self) -> State:
        """The state that knows all that was told; fitted when asked for, and not recorded: a look changes nothing.

        Raises:
            ValueError: nothing was told.
        """
        with self._lock:
            return self._asking.look()

    @property
    def posterior(self) -> Any:
        """What is believed now, `posterior.moments(x)` for instance; see `state`."""
        return self.state.posterior

    @property
    def measured(self) -> int:
        """Number of measurements that have succeeded and were not discarded."""
        with self._lock:
            return sum(bool(np.isfinite(answer.y)) for answer in self._asking.told.answers.values())

    def best(self, maximize: bool = True) -> Best:
        """The measured point where the model expects the best value; see `state`.

        Raises:
            ValueError: nothing was measured.
        """
        with self._lock:
            state, told = self.state, self._asking.told
            good = [token for token, answer in told.answers.items() if np.isfinite(answer.y)]
            if not good:
                raise ValueError("no measurement has succeeded so far.")
            places = np.array([told.answers[token].position for token in good])
            mean, variance = (
                np.asarray(part) for part in state.posterior.moments(jnp.asarray(places, state.obs.x.dtype))
            )
            first = int(np.argmax(mean if maximize else -mean))
            token = good[first]
            deviation = float(np.sqrt(max(variance[first], 0.0)))
            point = np.asarray(told.asked_at[token], np.float64)
            return Best(self._asking.numbers[token], point, float(mean[first]), deviation, told.answers[token].y)

    def status(self) -> str:
        """Where the campaign stands, in words; nothing is fitted for it."""
        with self._lock:
            return standing_in_words(self._asking, self.names, self.units)

    # Out.

    def to_pandas(self) -> Any:
        """All points as a table: their numbers as index; inputs, value, its variance, status, reason, time and token.

        The status is one of measured, failed, discarded and waiting, the time in seconds since 1970; `attrs["units"]`
        has the units. Where an input has the name of another column, that one ends in an underscore.

        Raises:
            ImportError: pandas is not installed.
        """
        with self._lock:
            return tables.frame(self._columns(), range(len(self._asking.tokens)), self._units())

    def _columns(self) -> dict[str, Any]:
        return tables.columns(self._asking, self._journal.measurements(), self.names, self.output[0])

    def _units(self) -> dict[str, str]:
        return dict(zip(self.names, self.units, strict=True)) | {self.output[0]: self.output[1]}

    def to_xarray(self) -> Any:
        """The same as a Dataset along `id`, with the inputs as coordinates and units in the attributes.

        Raises:
            ImportError: xarray is not installed.
        """
        with self._lock:
            return tables.dataset(self._columns(), self.names, self.output[0], self._units())

    def to_arviz(self, num_samples: int | None = None) -> Any:
        """The posterior and the observations as a DataTree of ArviZ 1.x; see `inference.to_arviz` and `state`.

        Args:
            num_samples: draws of equal weight; None for as many as the posterior has.

        Raises:
            ImportError: arviz-base is not installed.
            ValueError: nothing was told.
        """
        from gpax_lab.inference import to_arviz

        state = self.state
        return to_arviz(state.posterior, state.obs, num_samples, names=self.names, output=self.output[0])

    # The end.

    def close(self) -> None:
        """Write the HDF5 file, and close the journal, if it is a file; may be called twice."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
            leave = getattr(self._journal, "__exit__", None)
            try:
                if kind is None:
                    self._asking.stop("closed; open it again to go on")
            finally:
                if leave is not None:
                    leave(kind, error, trace)

    def _give_up(self) -> None:
        """Close the journal, and write no more: the file is opened anew."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._journal.__exit__(KeyboardInterrupt, None, None)  # type: ignore[attr-defined] # without an export


def _same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and not np.isfinite(b))
