"""What made each generation: one event each, and what follows from all of them.

The chain of generations is the log. A confirmation, a known defect, a quarantined frame: each is one generation, also
where no row changes, so each is applied once, whoever delivers it how often.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias, TypeVar

import msgspec

from patchline.engine.coreset import event_log
from patchline.engine.errors import EngineError

Entry = TypeVar("Entry")
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
    chain = Chain()
    for number, event in enumerate(events, start=1):
        chain = chain_after(chain, event, events[: number - 1])
    return chain


def chain_after(before: Chain, event: Event, events: Sequence[Event]) -> Chain:
    """What follows from one more event.

    Args:
        before: what followed from the events before.
        event: the one more.
        events: those before, the first of which made generation 1.

    Raises:
        EngineError: the event goes back to a generation that is not there, or chooses a threshold that none can be.
    """
    after = replace(
        before,
        passed=(*before.passed, *event.passed)[-RECENT:],
        feedback=before.feedback | {event.feedback_id} if event.feedback_id else before.feedback,
    )
    match event:
        case ConfirmedGood(frame=frame):
            name = frame.name
            after = replace(after, held=_less(before.held, name), defects=_less(before.defects, name))
            if name in before.frames:
                return after
            return replace(
                after,
                log=(*before.log, event_log.Learned(frame=name)),
                frames=before.frames | {name: frame},
                scores=before.scores | {name: event.score},
            )
        case Held(frame=frame):
            return replace(after, held=before.held | {frame.name: event})
        case ConfirmedDefect(frame=frame):
            defects = _less(before.defects, frame.name) | {frame.name: frame}
            return replace(after, held=_less(before.held, frame.name), defects=defects)
        case Unlearned(frame=name):
            return replace(
                after,
                log=event_log.without(before.log, name),
                frames=_less(before.frames, name),
                scores=_less(before.scores, name),
                defects=_less(before.defects, name),
                held=_less(before.held, name),
            )
        case Aged(rows=rows):
            return replace(after, log=(*before.log, event_log.AgedRows(rows=rows)))
        case RolledBack(to=to):
            if not 1 <= to <= len(events):
                raise EngineError(f"generation {len(events) + 1} goes back to {to}, expected 1 to {len(events)}")
            earlier = chain_of(events[:to])
            return replace(
                after,
                log=earlier.log,
                scores=earlier.scores,
                passed=earlier.passed,
                frames=earlier.frames,
                chosen=earlier.chosen,
            )
        case ThresholdChosen():
            return replace(after, chosen=_checked_choice(event, len(events) + 1))
        case Fitted(chosen=None):
            return after
        case Fitted(chosen=chosen):
            return replace(after, chosen=chosen, chosen_first=chosen)


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


def _less(named: dict[str, Entry], name: str) -> dict[str, Entry]:
    return {key: value for key, value in named.items() if key != name} if name in named else named
