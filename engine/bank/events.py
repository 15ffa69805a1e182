"""What made each generation: one event each, and what follows from all of them.

The chain of generations is the log. A confirmation, a known defect, a quarantined frame: each is one generation, also
where no row changes, so each is applied once, whoever delivers it how often.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

import msgspec

from patchline.engine.coreset import event_log
from patchline.engine.errors import EngineError, shown

RECENT = 200
"""Scores of passed frames, as first seen, that are remembered."""


class StoredFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frame whose patch embeddings are kept beside the generations: its name, and the file's SHA-256 and size."""

    name: str
    sha256: str
    bytes: int


class _Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    """Who made a generation, when (ISO 8601) and why; `feedback_id` is that of the request, applied once.

    `identity` is who was known to ask, `*` where anybody may have; unset where nobody knew of identities.
    """

    feedback_id: str = ""
    operator: str = ""
    reason: str = ""
    time: str = ""
    identity: str | msgspec.UnsetType = msgspec.UNSET
    passed: tuple[float, ...] = ()
    """Scores of frames that have passed since the generation before, as first seen."""


class ThresholdChosen(_Event, frozen=True, kw_only=True, tag="threshold_chosen"):
    """A person chose the threshold: a false-reject rate that it aims at ever after, or a value that it stays at.

    Either `rate` or `value` is there. `evaluation_sha256` is that of the file whose best F1 gave the value. No row
    changes.
    """

    rate: float | None = None
    value: float | None = None
    evaluation_sha256: str = ""


class Fitted(_Event, frozen=True, kw_only=True, tag="fitted"):
    """The first generation: what a fit made, or an export, which brings the threshold that had been chosen along."""

    chosen: ThresholdChosen | None = None


class ConfirmedGood(_Event, frozen=True, kw_only=True, tag="confirmed_good"):
    """A frame was confirmed as good and learned; `score` and `threshold` are those that it was judged with."""

    frame: StoredFrame
    score: float
    approved_by: str | None = None
    """Who released it, where it had been held."""


class Held(_Event, frozen=True, kw_only=True, tag="held"):
    """A frame was confirmed as good, and waits for a second person; `held` says why. No row changes."""

    frame: StoredFrame
    score: float
    held: str


class ConfirmedDefect(_Event, frozen=True, kw_only=True, tag="confirmed_defect"):
    """A frame joined the known defects. No row changes."""

    frame: StoredFrame


class Unlearned(_Event, frozen=True, kw_only=True, tag="unlearned"):
    """A frame was taken back: its rows, its place among the known defects, its place in quarantine."""

    frame: str


class RolledBack(_Event, frozen=True, kw_only=True, tag="rolled_back"):
    """The rows and the threshold are those of generation `to`. Known defects stay known."""

    to: int


class Aged(_Event, frozen=True, kw_only=True, tag="aged"):
    """Rows left, each named by its frame and patch."""

    rows: tuple[tuple[str, int], ...]


Event: TypeAlias = Fitted | ConfirmedGood | Held | ConfirmedDefect | Unlearned | RolledBack | Aged | ThresholdChosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What follows from the events of generations 1 to N.

    `log` is what a replay applies; `scores` are of the frames in it, as first seen, `passed` of frames that passed;
    `frames` are the learned frames' embeddings; `defects` the known ones, `held` those in quarantine, by name;
    `feedback` every request applied; `chosen` is how a person last chose the threshold, None until one has, and
    `chosen_first` the choice that generation 1 was made with.
    """

    log: tuple[event_log.LogEntry, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    passed: tuple[float, ...] = ()
    frames: dict[str, StoredFrame] = field(default_factory=dict)
    defects: dict[str, StoredFrame] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    feedback: frozenset[str] = frozenset()
    chosen: ThresholdChosen | None = None
    chosen_first: ThresholdChosen | None = None


def chain_of(events: Sequence[Event]) -> Chain:
    """What follows from events, the first of which made generation 1.

    Raises:
        EngineError: an event contradicts those before it.
    """
    wanted = {event.to for event in events if isinstance(event, RolledBack)}
    earlier: dict[int, Chain] = {}
    growing = _Growing(Chain())
    for number, event in enumerate(events, start=1):
        growing.take(event, number, earlier.__getitem__)
        if number in wanted:
            earlier[number] = growing.chain()
    return growing.chain()


def chain_after(before: Chain, event: Event, events: Sequence[Event]) -> Chain:
    """What follows from one more event.

    Args:
        before: what followed from the events before.
        event: the one more.
        events: those before, the first of which made generation 1.

    Raises:
        EngineError: the event goes back to a generation that is not there, or chooses a threshold that none can be.
    """
    growing = _Growing(before)
    growing.take(event, len(events) + 1, lambda to: chain_of(events[:to]))
    return growing.chain()


class _Growing:
    """A chain that events are added to in place: a copy for each would cost the square of their number."""

    def __init__(self, before: Chain) -> None:
        self._feedback, self._defects, self._held = set(before.feedback), dict(before.defects), dict(before.held)
        self._chosen_first = before.chosen_first
        self._go_on_from(before)

    def _go_on_from(self, chain: Chain) -> None:
        """What a rollback brings back of an earlier chain: all but feedback and what waits or is known."""
        self._log, self._passed = list(chain.log), deque(chain.passed, maxlen=RECENT)
        self._scores, self._frames, self._chosen = dict(chain.scores), dict(chain.frames), chain.chosen

    def take(self, event: Event, number: int, chain_at: Callable[[int], Chain]) -> None:
        """One more event, which made generation `number`; `chain_at` gives the chain of an earlier one."""
        self._passed.extend(event.passed)
        if event.feedback_id:
            self._feedback.add(event.feedback_id)
        match event:
            case ConfirmedGood(frame=frame):
                self._held.pop(frame.name, None)
                self._defects.pop(frame.name, None)
                if frame.name not in self._frames:
                    self._log.append(event_log.Learned(frame=frame.name))
                    self._frames[frame.name] = frame
                    self._scores[frame.name] = event.score
            case Held(frame=frame):
                self._held[frame.name] = event
            case ConfirmedDefect(frame=frame):
                self._held.pop(frame.name, None)
                self._defects.pop(frame.name, None)  # one confirmed again is the newest
                self._defects[frame.name] = frame
            case Unlearned(frame=name):
                self._log = list(event_log.without(self._log, name))
                for named in (self._frames, self._scores, self._defects, self._held):
                    named.pop(name, None)
            case Aged(rows=rows):
                self._log.append(event_log.AgedRows(rows=rows))
            case RolledBack(to=to):
                if not 1 <= to < number:
                    raise EngineError(f"generation {number} goes back to {shown(to)}, expected 1 to {number - 1}")
                self._go_on_from(chain_at(to))
            case ThresholdChosen():
                self._chosen = _checked_choice(event, number)
            case Fitted(chosen=chosen) if chosen is not None:
                self._chosen = self._chosen_first = chosen

    def chain(self) -> Chain:
        """What has followed so far."""
        return Chain(
            log=tuple(self._log),
            scores=dict(self._scores),
            passed=tuple(self._passed),
            frames=dict(self._frames),
            defects=dict(self._defects),
            held=dict(self._held),
            feedback=frozenset(self._feedback),
            chosen=self._chosen,
            chosen_first=self._chosen_first,
        )


def _checked_choice(event: ThresholdChosen, number: int) -> ThresholdChosen:
    """The event, where it chooses one thing that can be: one rate, or one value."""
    rate, value = event.rate, event.value
    if (rate is None) == (value is None):
        raise EngineError(f"generation {number} chooses a threshold by rate {rate} and value {value}, expected either")
    if rate is not None and not 0 < rate < 1:
        raise EngineError(f"generation {number} chooses the false-reject rate {rate:g}, expected between 0 and 1")
    if value is not None and not 0 < value < inf:
        raise EngineError(f"generation {number} chooses the threshold {value:g}, expected a finite value above 0")
    return event
