"""What a recipe has learned, as a log over its fit: the rows at any moment are what the log gives when it is replayed.

Unlearning a frame replays the log without it: the bank is then, row for row, the one that never saw the frame.

Ageing takes rows away, and with them the patches that they stood for: those of confirmed frames whose nearest row they
were. What remains is learned again from the fit's remaining rows, so that the radius is no larger than the remaining
patches need, and the guarantee of `coreset.online` holds over the patches neither unlearned nor aged.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, without_rows
from patchline.engine.coreset.rows import Delta
from patchline.engine.errors import EngineError
from patchline.engine.numerics.integer_distances import sq_to_nearest
from patchline.engine.types import Rows


class Learned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event", tag="learned"):
    """A frame was confirmed as good, and its patches joined."""

    frame: str


class AgedRows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event", tag="aged"):
    """Rows left by the ageing policy, each named by its frame and patch. Rows that are not there are passed over."""

    rows: tuple[tuple[str, int], ...]


LogEntry: TypeAlias = Learned | AgedRows
PatchesOf: TypeAlias = Callable[[str], Rows]
"""The stored patch embeddings of a confirmed frame, int16 (P, D)."""


class Learning:
    """A recipe's log of events and the rows that it gives. Every change keeps both in step.

    Args:
        first: the state that the fit left (`coreset.online_state.begin`).
        patches_of: reads a confirmed frame's patch embeddings back; they are not held here.
    """

    def __init__(self, first: OnlineCoreset, patches_of: PatchesOf) -> None:
        self._first = first
        self._patches_of = patches_of
        self._without_aged = first  # the fit, less what has aged
        self._living: dict[str, NDArray[np.bool_] | None] = {}
        self.log: tuple[LogEntry, ...] = ()
        self.state = first

    @property
    def learned(self) -> tuple[str, ...]:
        """The frames learned and not unlearned, in the order in which they were."""
        return tuple(self._living)

    def living(self, frame: str) -> NDArray[np.bool_]:
        """Which patches of a learned frame have not aged, bool (P,)."""
        mask = self._living[frame]
        return np.ones(len(self._patches_of(frame)), dtype=bool) if mask is None else mask

    def learn(self, frame: str) -> Delta:
        """Learn a confirmed frame; one learned already changes nothing. See `coreset.online.learn`."""
        patches = self._patches_of(frame)
        known = frame in self.state.frames
        self.state, delta = learn(self.state, frame, patches)
        if not known:
            self._living[frame] = None
            self.log = (*self.log, Learned(frame=frame))
        return delta

    def age(self, rows: Iterable[tuple[str, int]]) -> None:
        """Take rows away, and what they stood for; learn what remains again.

        Raises:
            EngineError: no row of the fit would be left.
        """
        event = AgedRows(rows=tuple(rows))
        for _ in self._age(event):
            pass
        self.log = (*self.log, event)

    def unlearn(self, frame: str) -> Iterator["Learning"]:
        """Replay the log without a frame, in slices; the last item is the learning that never saw it.

        Raises:
            EngineError: the frame is not a learned one; a frame of the fit takes a refit.
        """
        if frame not in self._living:
            if frame in self.state.frames:
                raise EngineError(f"frame {frame!r} is part of the fit: unlearning it takes a refit")
            raise EngineError(f"frame {frame!r} has not been learned")
        return self.replay(self._first, self.without(frame), self._patches_of)

    def without(self, frame: str) -> tuple[LogEntry, ...]:
        """The log less one frame: its confirmation, and its rows where they aged."""
        return without(self.log, frame)

    @classmethod
    def replay(cls, first: OnlineCoreset, log: Sequence[LogEntry], patches_of: PatchesOf) -> Iterator["Learning"]:
        """Apply a log to the state that the fit left. Yields the learning after each slice, then once more whole."""
        learning = cls(first, patches_of)
        for event in log:
            if isinstance(event, AgedRows):
                for _ in learning._age(event):
                    yield learning
                learning.log = (*learning.log, event)
            else:
                learning.learn(event.frame)
                yield learning
        yield learning

    def _age(self, event: AgedRows) -> Iterator[None]:
        named = set(event.rows)
        gone = _named_rows(self.state, named)
        if not gone.any():
            return
        living = dict(self._living)
        for frame, mask in self._living.items():
            patches = self._patches_of(frame)
            _, nearest = sq_to_nearest(patches, self.state.rows)
            stays = ~gone[nearest]
            living[frame] = stays if mask is None else mask & stays
            yield
        without_aged, _ = without_rows(self._without_aged, _named_rows(self._without_aged, named))
        state = without_aged
        for frame in living:
            state, _ = learn(state, frame, self._patches_of(frame), living=living[frame])
            yield
        self._without_aged, self._living, self.state = without_aged, living, state


def without(log: Sequence[LogEntry], frame: str) -> tuple[LogEntry, ...]:
    """A log less one frame: its confirmation, and its rows where they aged."""
    kept: list[LogEntry] = []
    for event in log:
        if isinstance(event, AgedRows):
            rows = tuple(row for row in event.rows if row[0] != frame)
            if rows:
                kept.append(AgedRows(rows=rows))
        elif event.frame != frame:
            kept.append(event)
    return tuple(kept)


def _named_rows(state: OnlineCoreset, rows: set[tuple[str, int]]) -> NDArray[np.bool_]:
    """Which rows of a state are among those named, bool (M,)."""
    return np.array(
        [
            (state.frames[frame], int(patch)) in rows
            for frame, patch in zip(state.row_frame, state.row_patch, strict=True)
        ]
    )
