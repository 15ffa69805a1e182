"""What stands for a record that cannot be decoded: a record at its offset, without a value, that says why.

The client library hands it on as any other, so nothing that follows records in their order needs to know that one
could not be read. Whoever takes records asks `undecodable` of each.
"""

import secrets

from aiokafka import ConsumerRecord

from patchline.stream.kafka.batches.layout import BatchHeader, BatchRecord, RecordHeaders, batch_of, record_of
from patchline.stream.model.errors import RecordError
from patchline.stream.wire.cloudevents import Headers

MOST_PLACEHOLDERS = 10_000
"""How many are made at once, so that their memory is bounded. The rest of a batch follows with the next fetch."""
_MOST_DETAIL_BYTES = 1000
# A producer that could guess the name could have its own records taken for undecodable, and nothing else.
_MARK = f"patchline-undecodable-{secrets.token_hex(8)}"


def undecodable(headers: Headers) -> str | None:
    """Why a record could not be decoded, by its headers; None for one that could."""
    return headers[0][1].decode("utf-8", "replace") if headers and headers[0][0] == _MARK else None


def decoded_headers(record: ConsumerRecord) -> Headers:
    """The headers of a record; raises RecordError for one that could not be decoded."""
    if (why := undecodable(record.headers)) is not None:
        raise RecordError(why)
    headers: Headers = record.headers
    return headers


def own_headers(headers: Headers) -> Headers:
    """The headers that a record came with, as far as they could be decoded."""
    return [header for header in headers if header[0] != _MARK] if undecodable(headers) is not None else headers


def placeholder(
    why: str, offset_delta: int, *, timestamp_delta: int = 0, key: bytes | None = None, headers: RecordHeaders = ()
) -> bytes:
    """A record that stands for another, as bytes of a batch.

    Args:
        why: it cannot be decoded; a sentence.
        offset_delta: its offset, counted from the batch's first.
        timestamp_delta: its time in milliseconds, counted likewise.
        key: its own, where that could be read.
        headers: its own, as far as they could be read.
    """
    mark = (_MARK.encode(), why.encode("utf-8", "replace")[:_MOST_DETAIL_BYTES])
    named = [(name.decode("utf-8", "backslashreplace").encode(), value) for name, value in headers]
    return record_of(BatchRecord(timestamp_delta, offset_delta, key, None, [mark, *named]))


def placeholders(header: BatchHeader, first: int, end: int, why: str) -> bytes:
    """A batch of records that stand for those at the offsets from `first` to before `end`, or for the first of them.

    Args:
        header: that of the batch they are in; it tells the transaction, and the time.
        first: an offset.
        end: one beyond it.
        why: they cannot be decoded; a sentence.
    """
    count = min(end - first, MOST_PLACEHOLDERS)
    records = b"".join(placeholder(why, delta) for delta in range(count))
    shown = header.uncompressed()._replace(base_offset=first, magic=2, last_offset_delta=count - 1, record_count=count)
    return batch_of(shown, records)


def hole(header: BatchHeader, end: int) -> bytes:
    """A batch without records that ends before the offset `end`: what is there is for no consumer."""
    last = end - header.base_offset - 1
    return batch_of(header._replace(magic=2, attributes=0, last_offset_delta=last, record_count=0), b"")
