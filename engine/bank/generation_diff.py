"""What distinguishes two generations of a bank: the rows that only one of them has, by the frame they came from."""

from collections import Counter
from dataclasses import dataclass

from patchline.engine.bank.memory_bank import MemoryBank


@dataclass(frozen=True, slots=True)
class FrameChange:
    """Rows of one frame that only the later bank has, and that only the earlier one has."""

    frame: str
    added: int
    removed: int


def difference(before: MemoryBank, after: MemoryBank) -> tuple[FrameChange, ...]:
    """The frames whose rows differ, in the order of the banks' frames; a row is its frame, patch and values."""
    rows_before, rows_after = _rows(before), _rows(after)
    added = Counter(frame for frame, _, _ in rows_after - rows_before)
    removed = Counter(frame for frame, _, _ in rows_before - rows_after)
    names = dict.fromkeys(origin.name for origin in (*before.frames, *after.frames))
    return tuple(FrameChange(name, added[name], removed[name]) for name in names if added[name] or removed[name])


def _rows(bank: MemoryBank) -> set[tuple[str, int, bytes]]:
    return {(*bank.provenance(row), bank.rows[row].tobytes()) for row in range(len(bank.rows))}
