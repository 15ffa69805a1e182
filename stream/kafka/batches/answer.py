"""The batches in a broker's answer, as the client library is to see them: all of them can be decoded.

`checked_answer` looks at each. The library stops at the first that it cannot decode, throws away what it has read of
other partitions, and begins again at the same place. So what it cannot decode never reaches it.
"""

from dataclasses import dataclass

from patchline.stream.kafka.batches.checked_batch import Checked, Unbounded, checked_batch
from patchline.stream.kafka.batches.layout import (
    BEFORE_LENGTH_BYTES,
    HEADER_BYTES,
    LEAST_LENGTH,
    MAGIC_AT,
    begin_of,
    blank_header,
    read_header,
)
from patchline.stream.kafka.batches.legacy import legacy_fault, legacy_header
from patchline.stream.kafka.batches.placeholders import placeholders

_OFFSET_BYTES = 8
_QUICK_BATCHES, _QUICK_RECORDS, _QUICK_BYTES = 16, 1000, 2 * 2**20


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """The batches of one partition, all of which can be decoded."""

    data: bytes
    passed_bytes: int = 0
    """Where nothing of the answer can be read: behind so many bytes of it reading goes on. `data` is empty then."""
    left: Unbounded | None = None
    """The batch that ends there, where it has something for the consumer, which needs to know what follows it."""


def is_quick(batches: bytes) -> bool:
    """Whether to look at an answer takes no longer than to give it to a thread: few batches, none compressed."""
    if len(batches) > _QUICK_BYTES:
        return False
    at = records = 0
    for _ in range(_QUICK_BATCHES):
        if at + HEADER_BYTES > len(batches):
            break
        header = read_header(batches[at : at + HEADER_BYTES])
        records += header.record_count
        if header.magic != 2 or header.codec or records > _QUICK_RECORDS:
            return False
        at += BEFORE_LENGTH_BYTES + max(LEAST_LENGTH, header.length)
    return at + HEADER_BYTES > len(batches)


def checked_answer(batches: bytes, position: int) -> CheckedAnswer:
    """Replace what cannot be decoded.

    Args:
        batches: what the broker answered: whole batches, the first of which may begin before `position`, and the
            beginning of another.
        position: the offset that was asked for.
    """
    checked: list[bytes] = []
    at, as_it_was = 0, True
    while at + MAGIC_AT < len(batches):
        base, length = begin_of(batches, at)
        end = at + BEFORE_LENGTH_BYTES + length
        if length < LEAST_LENGTH:
            as_it_was = False
            break
        if end > len(batches):
            break  # the beginning of a batch
        following = _following(batches, end)
        if following is not None and base < following <= position:
            at, as_it_was = end, False  # the broker believed it that it reaches the position
            continue
        batch = batches if at == 0 and end == len(batches) else batches[at:end]
        found = _looked_at(batch, position, following, is_first=not checked)
        if isinstance(found, Unbounded) and not checked:
            return CheckedAnswer(b"", end, found)
        # What cannot be told of yet comes again, first in its answer. And the library takes every batch of an answer to
        # be of the format of the first.
        if not isinstance(found, Checked) or (checked and found.data[MAGIC_AT] != checked[0][MAGIC_AT]):
            as_it_was = False
            break
        checked.append(found.data)
        as_it_was = as_it_was and found.data is batch
        at, position = end, max(position, found.next_offset)
        if found.ends_answer:
            as_it_was = False
            break
    if not checked and at:
        return CheckedAnswer(b"", at)
    return CheckedAnswer(batches if as_it_was or not checked else b"".join(checked))


def _looked_at(batch: bytes, position: int, following: int | None, *, is_first: bool) -> Checked | Unbounded:
    """Look at one batch; what is before the offset `position` is done, and the next batch says that it begins there."""
    base = begin_of(batch, 0)[0]
    if (not is_first and base < position) or (following is not None and position < following <= base):
        # Neither is the base offset covered by the CRC; and a batch that is elsewhere would make the library jump.
        return _displaced(position, base, following)
    if following is not None and following <= max(base, position):
        following = None
    if batch[MAGIC_AT] in (0, 1):
        header = legacy_header(batch, position)
        why = legacy_fault(batch)
        data = batch if why is None else placeholders(header, header.base_offset, header.next_offset, why)
        return Checked(data, header.next_offset)
    found = checked_batch(batch, position, following)
    return found.until(following, position) if isinstance(found, Unbounded) and following is not None else found


def _displaced(position: int, base: int, following: int | None) -> Checked | Unbounded:
    why = f"the record batch begins at offset {base}, where {position} was expected: it is damaged"
    found = Unbounded(blank_header(position), why)
    return found if following is None or following <= position else found.until(following, position)


def _following(batches: bytes, end: int) -> int | None:
    """The base offset of the batch behind one, where the answer has it."""
    if end + _OFFSET_BYTES > len(batches):
        return None
    return int.from_bytes(batches[end : end + _OFFSET_BYTES], "big", signed=True)
