"""Whether one batch can be decoded, and what stands for it or for some of its records where it cannot.

A batch that the client library decodes passes as it is. Where only some of its records cannot be decoded (the name of
a header that is not UTF-8), the others keep their bytes: see `salvage`. Where its records cannot be told apart (the
compression is not installed, the CRC is wrong), every offset that it may have is one record that cannot be read.
"""

from dataclasses import dataclass
from time import time

from aiokafka.record.control_record import ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch

from patchline.stream.kafka.batches.decompression import DecompressionError, decompressed
from patchline.stream.kafka.batches.layout import (
    HEADER_BYTES,
    BatchHeader,
    MalformedError,
    batch_of,
    begin_of,
    blank_header,
    crc_of,
    read_header,
)
from patchline.stream.kafka.batches.placeholders import MOST_PLACEHOLDERS, hole, placeholders
from patchline.stream.kafka.batches.salvage import MOST_SALVAGED, salvaged


@dataclass(frozen=True, slots=True)
class Checked:
    """What to hand to the client library of a batch."""

    data: bytes
    next_offset: int
    """Behind the last offset that `data` accounts for."""
    ends_answer: bool = False
    """Nothing more of this answer may follow: the next one has the rest of the batch, or knows what it leaves open."""


@dataclass(frozen=True, slots=True)
class Unbounded:
    """A batch that cannot be decoded, nor trusted in where it ends: whoever knows its end has it replaced."""

    header: BatchHeader
    why: str

    def until(self, end: int, position: int) -> Checked:
        """What stands for the batch.

        Args:
            end: the offset of what follows it in the log.
            position: what is before this offset is done.
        """
        end = max(end, position + 1, self.header.base_offset + 1)
        if self.header.is_control:
            return _passed_over(self.header, end)
        return _all_unread(self.header.dated(round(time() * 1000)), position, end, self.why)


def checked_batch(batch: bytes, position: int, following: int | None) -> Checked | Unbounded:
    """Look whether a batch of format 2 can be decoded.

    Args:
        batch: all its bytes.
        position: what is before this offset is done.
        following: the base offset of the batch behind it, where that is known.
    """
    try:
        header = read_header(batch)
    except MalformedError as error:
        return Unbounded(blank_header(begin_of(batch, 0)[0]), f"the record batch cannot be decoded: {error}")
    if header.magic != 2:
        return Unbounded(header, f"the record batch has the format {header.magic}, expected 0, 1 or 2")
    if (found := crc_of(batch)) != header.crc:
        return Unbounded(header, f"the record batch has the CRC {found:08x}, expected {header.crc:08x}: it is damaged")
    if header.last_offset_delta < 0:
        return Unbounded(header, f"the record batch has {header.last_offset_delta + 1} offsets, expected 1 or more")
    end = header.next_offset
    if following is not None and header.record_count != header.last_offset_delta + 1:
        end = min(end, following)  # else its word is the better one: no CRC covers where the next begins
    if header.is_control and header.record_count == 0:  # as compaction leaves it
        return Checked(hole(header, end), end)
    try:
        records = decompressed(header.codec, batch[HEADER_BYTES:]) if header.codec else None
    except DecompressionError as error:
        why = f"the record batch cannot be read: {error}"
        return _passed_over(header, end) if header.is_control else _all_unread(header, position, end, why)
    plain = batch if records is None else batch_of(header.uncompressed(), records)
    fault = _fault(plain, header)
    if fault is None and end < header.next_offset:
        fault = f"it ends before the offset {header.next_offset}, and the next batch begins at {end}"
    if fault is None:
        return Checked(plain, end)
    why = f"the record batch cannot be decoded: {fault}"
    if header.is_control:
        return _passed_over(header, end)
    if header.record_count > MOST_SALVAGED:
        return _all_unread(header, position, end, why)
    data, done = salvaged(header.uncompressed(), plain[HEADER_BYTES:], position, end, why)
    return Checked(data, done, ends_answer=done < end)


def _fault(plain: bytes, header: BatchHeader) -> str | None:
    """Why the client library cannot decode a batch that is not compressed, or reads other offsets than it may have."""
    last = header.base_offset - 1
    try:
        for record in DefaultRecordBatch(plain):
            if not last < record.offset < header.next_offset:
                return f"offset {record.offset} follows {last} in a batch that ends before {header.next_offset}"
            last = record.offset
            if header.is_control:
                ControlRecord.parse(record.key)
    except Exception as error:  # whatever the bytes bring about
        return str(error) or type(error).__name__
    return None


def _passed_over(header: BatchHeader, end: int) -> Checked:
    """For the end of a transaction that cannot be decoded: it has no record, and what it ends is left open by it."""
    return Checked(hole(header, end), end, ends_answer=True)


def _all_unread(header: BatchHeader, position: int, end: int, why: str) -> Checked:
    first = max(position, header.base_offset)
    done = min(end, first + MOST_PLACEHOLDERS)
    return Checked(placeholders(header, first, done, why), done, ends_answer=done < end)
