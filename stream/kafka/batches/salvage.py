"""The records of a batch of which some cannot be decoded: placeholders stand for those, the others keep their bytes.

What can be known of a record that cannot be decoded goes into its placeholder: where only the name of a header is not
UTF-8, its key and its headers.
"""

from collections.abc import Iterator

from patchline.stream.kafka.batches.layout import (
    BatchHeader,
    BatchRecord,
    MalformedError,
    batch_of,
    read_record,
    read_varint,
)
from patchline.stream.kafka.batches.placeholders import MOST_PLACEHOLDERS, placeholder

MOST_SALVAGED = 100_000
"""Of a batch with more records none is looked at alone: telling them apart would take longer than they are worth."""


def salvaged(header: BatchHeader, records: bytes, position: int, end: int, why: str) -> tuple[bytes, int]:
    """A batch that can be decoded, of the records of one that cannot.

    Args:
        header: that of the batch, as one that is not compressed.
        records: what is behind the header.
        position: records before this offset are left out.
        end: the offset behind the batch's last.
        why: it cannot be decoded; a sentence.

    Returns:
        The batch, and the offset behind its last: `end`, unless there are more placeholders than are made at once.
    """
    first, done = position - header.base_offset, end - header.base_offset
    kept, count, made = bytearray(), 0, 0
    for delta, record, is_own in _told_apart(header, records, done, why):
        if delta < first:
            continue
        kept += record
        count += 1
        made += not is_own
        if made == MOST_PLACEHOLDERS:
            done = delta + 1
            break
    return batch_of(header._replace(last_offset_delta=done - 1, record_count=count), kept), header.base_offset + done


def _told_apart(header: BatchHeader, records: bytes, end: int, why: str) -> Iterator[tuple[int, bytes, bool]]:
    """Each record's offset in the batch, the record as bytes, and whether these are its own or a placeholder's.

    Where compaction removed nothing, the n-th record has the offset n: so one that is nonsense costs itself. From where
    records cannot be told apart, every offset up to `end` is one that cannot be decoded.
    """
    is_dense = header.record_count == header.last_offset_delta + 1
    at = done = 0
    for number in range(header.record_count):
        body, stop = _span(records, at)
        if stop == 0:
            break
        try:
            record = read_record(records, body, stop)
            if not (record.offset_delta == number if is_dense else done <= record.offset_delta < end):
                raise MalformedError("a record is out of order")
            delta = record.offset_delta
            flaw = _flaw(record, delta)
        except MalformedError:
            delta, flaw = number, placeholder(why, number)
            if not is_dense:
                break
        if delta >= end:
            return
        yield delta, records[at:stop] if flaw is None else flaw, flaw is None
        at, done = stop, delta + 1
    else:
        if at == len(records):  # else there are more than it says
            return
    for delta in range(done, end):
        yield delta, placeholder(why, delta), False


def _span(records: bytes, at: int) -> tuple[int, int]:
    """Where a record begins behind its length, and where it ends; 0 where its length is nonsense."""
    try:
        length, body = read_varint(records, at, len(records))
    except MalformedError:
        return at, 0
    return body, body + length if 0 < length <= len(records) - body else 0


def _flaw(record: BatchRecord, delta: int) -> bytes | None:
    """What stands for a record that is well laid out and yet cannot be decoded; None for any other."""
    for name, _ in record.headers:
        try:
            name.decode()
        except UnicodeDecodeError:
            why = f"the name {name[:80]!r} of a header is not UTF-8"
            return placeholder(
                why, delta, timestamp_delta=record.timestamp_delta, key=record.key, headers=record.headers
            )
    return None
