"""Generations in words, for people and as JSON: who made one, when, why, and what it changed."""

from collections.abc import Iterator
from typing import Any

import msgspec

from patchline.engine.bank.events import (
    Aged,
    ConfirmedDefect,
    ConfirmedGood,
    Event,
    Fitted,
    Held,
    RolledBack,
    ThresholdChosen,
    Unlearned,
)
from patchline.engine.bank.manifest import Manifest
from patchline.engine.bank.reader import GenerationReader


def what(event: Event) -> str:
    """What made a generation, in a few words."""
    match event:
        case Fitted():
            return "fitted" if not event.reason.startswith("export of ") else "exported"
        case ConfirmedGood(approved_by=None):
            return f"learned {event.frame.name}"
        case ConfirmedGood():
            return f"learned {event.frame.name}, approved by {event.approved_by}"
        case Held():
            return f"held {event.frame.name}: {event.held}"
        case ConfirmedDefect():
            return f"known defect {event.frame.name}"
        case Unlearned():
            return f"unlearned {event.frame}"
        case RolledBack():
            return f"rolled back to {event.to}"
        case Aged():
            return f"aged {len(event.rows)} rows"
        case ThresholdChosen():
            return chosen(event)


def chosen(event: ThresholdChosen) -> str:
    """What a person chose the threshold to be, in a few words."""
    if event.rate is not None:
        return f"threshold for a false-reject rate of {event.rate:g}"
    found = f", the best F1 of evaluation {event.evaluation_sha256[:12]}" if event.evaluation_sha256 else ""
    return f"threshold set to {event.value:.6g}{found}"


def history(store: GenerationReader, newest: int | None = None) -> Iterator[dict[str, Any]]:
    """A line for each of the `newest` last generations (all unless given), the oldest first.

    Raises:
        BankFileError: a manifest is missing, truncated, altered or foreign.
    """
    last = store.manifest().generation
    first = 1 if newest is None else max(1, last - newest + 1)
    before = store.manifest(first - 1).rows if first > 1 else 0
    for number in range(first, last + 1):
        manifest = store.manifest(number)
        yield line(manifest) | {"rows_more": manifest.rows - before}
        before = manifest.rows


def line(manifest: Manifest) -> dict[str, Any]:
    """What a generation is and what made it, as JSON has it."""
    event = manifest.event
    return {
        "generation": manifest.generation,
        "time": event.time or manifest.created,
        "operator": event.operator,
        "event": msgspec.to_builtins(event)["event"],
        "what": what(event),
        "reason": event.reason,
        "feedback_id": event.feedback_id,
        "rows": manifest.rows,
        "threshold": manifest.threshold,
        "sha256": manifest.sha256,
    }
