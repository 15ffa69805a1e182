"""The ageing policy: rows that were no frame's nearest on the last N days of inspection may leave.

Days on which nothing was inspected do not count, so a line that stands still forgets nothing. What leaves is named in
an event of the chain, row by row: a replay needs no records of use.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from patchline.engine.bank.events import Event
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.usage_log import UsedRows

FLOOR = 0.5
"""Share of a fold's rows, as the fit left them, that ageing always leaves."""


def fit_rows_kept(first: MemoryBank) -> list[tuple[set[tuple[str, int]], int]]:
    """Of each fold of the fit, the lowest first, its rows by frame and patch, and how many ageing leaves at least."""
    folds: dict[int, set[tuple[str, int]]] = {fold: set() for fold in range(first.folds)}
    for row, fold in enumerate(first.row_fold.tolist()):
        folds.setdefault(fold, set()).add(first.provenance(row))
    return [(rows, max(1, -int(-FLOOR * len(rows) // 1))) for _, rows in sorted(folds.items())]


def window(usage: Mapping[str, UsedRows], days: int, today: str) -> str | None:
    """The first of the last `days` days of inspection before `today` (ISO 8601); None where there are fewer."""
    whole = sorted(day for day in usage if day < today)
    return whole[-days] if len(whole) >= days else None


def unused_rows(
    bank: MemoryBank,
    first: MemoryBank,
    events: Sequence[Event],
    usage: Mapping[str, UsedRows],
    *,
    days: int,
    today: str,
) -> tuple[tuple[str, int], ...]:
    """The rows that may leave, each by its frame and patch, in the bank's order.

    Rows that joined within the window stay, and so does half of each fold of the fit: where more of it is unused, the
    rows that the fit chose first, which cover the most, are those that stay.

    Args:
        bank: the newest generation.
        first: generation 1.
        events: of all generations, which say when each frame's rows joined.
        usage: the rows used, by day.
        days: days of inspection without use, 1 or more.
        today: the day that is not over yet, ISO 8601.
    """
    since = window(usage, days, today)
    if since is None:
        return ()
    # A file that is dated ahead, by a clock that was wrong once, would keep its rows for years.
    latest = (date.fromisoformat(today) + timedelta(days=1)).isoformat()
    days_of_use = [day for day in usage if since <= day <= latest]
    used = {(frame, patch) for day in days_of_use for frame, patches in usage[day].items() for patch in patches}
    young = {origin.name for origin in bank.frames if _joined(events, origin.generation) >= since}
    rows = [bank.provenance(row) for row in range(len(bank.rows))]
    idle = [row for row in rows if row not in used and row[0] not in young]
    staying: set[tuple[str, int]] = set()
    for fold, least in fit_rows_kept(first):
        may_leave = max(0, sum(row in fold for row in rows) - least)
        of_fold = [row for row in idle if row in fold]
        staying |= set(of_fold[: max(0, len(of_fold) - may_leave)])
    return tuple(row for row in idle if row not in staying)


def _joined(events: Sequence[Event], generation: int) -> str:
    """The day on which a generation was made, ISO 8601 in UTC; empty where it is not known, as for a fit long ago."""
    try:
        made = datetime.fromisoformat(events[generation - 1].time)
    except (ValueError, IndexError):
        return ""
    return (made.astimezone(UTC) if made.tzinfo else made).date().isoformat()
