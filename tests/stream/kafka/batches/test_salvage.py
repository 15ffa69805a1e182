"""Of a batch with broken records the others are kept, each at its offset."""

import pytest

from patchline.stream.kafka.batches import salvage as module
from patchline.stream.kafka.batches.layout import BatchHeader, BatchRecord, blank_header, record_of, varint
from patchline.stream.kafka.batches.placeholders import own_headers, undecodable
from patchline.stream.kafka.batches.salvage import salvaged
from tests.stream.kafka.batches.crafted import read


def record(delta: int, value: bytes | None = b"x", name: bytes = b"ce_id") -> bytes:
    return record_of(BatchRecord(delta, delta, b"cam", value, [(name, b"7")]))


def header(count: int, last: int) -> BatchHeader:
    return blank_header(100)._replace(
        record_count=count, last_offset_delta=last, first_timestamp=1000, max_timestamp=2000
    )


def kept(head: BatchHeader, records: bytes, *, position: int = 100, end: int | None = None) -> dict[int, bytes | None]:
    """By offset the value of each record that is read; None for one that is a placeholder."""
    batch, done = salvaged(head, records, position, head.next_offset if end is None else end, "broken")
    found = read(batch, position)
    assert found.position == done
    return {r.offset: r.value if undecodable(r.headers) is None else None for r in found.records}


def test_what_is_known_of_a_bad_record_is_kept() -> None:
    """Only its value is not: a record that cannot be decoded has no bytes for anybody."""
    batch, _ = salvaged(header(2, 1), record(0) + record(1, name=b"\xff"), 100, 102, "broken")
    _, odd = read(batch, 100).records
    assert (odd.offset, odd.timestamp, odd.key, odd.value) == (101, 1001, b"cam", None)
    assert own_headers(odd.headers) == [("\\xff", b"7")]


def test_nonsense_inside_of_a_record_costs_it() -> None:
    """Where none was removed, the n-th has the offset n."""
    whole = record(1)[1:]
    for bad in (b"\xff\xff\xff", record(5)[1:], record(0)[1:], whole + b"\0", whole[:-2], b"\0\0\2\1\1\x7f"):
        found = kept(header(3, 2), record(0) + varint(len(bad)) + bad + record(2))
        assert found == {100: b"x", 101: None, 102: b"x"}, bad


@pytest.mark.parametrize("length", [varint(-1), varint(0), varint(10_000), b"\xff" * 12], ids=repr)
def test_from_where_lengths_are_nonsense_every_offset_counts(length: bytes) -> None:
    """Nothing behind can be told apart."""
    assert kept(header(4, 3), record(0) + length + record(2) + record(3)) == {
        100: b"x",
        101: None,
        102: None,
        103: None,
    }
    assert kept(header(4, 3), record(0)) == {100: b"x", 101: None, 102: None, 103: None}


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 3, 1000])
def test_a_number_of_records_that_is_wrong_costs_what_it_hides(count: int) -> None:
    """Every offset is accounted for; those that are read are kept."""
    found = kept(header(count, 1), record(0) + record(1))
    assert found == {100: b"x" if count > 0 else None, 101: b"x" if count > 1 else None}


def test_offsets_that_compaction_removed_are_none() -> None:
    """Unless records cannot be told apart: then nobody knows which they are."""
    assert kept(header(2, 5), record(1) + record(4, name=b"\xff")) == {101: b"x", 104: None}
    assert kept(header(3, 5), record(1) + record(1) + record(4)) == {101: b"x"} | dict.fromkeys(range(102, 106))
    assert kept(header(2, 5), record(1) + record(9)) == {101: b"x"} | dict.fromkeys(range(102, 106))


def test_what_is_done_is_left_out_and_what_passes_the_end_too() -> None:
    """A batch is read from its middle on where that is the position."""
    records = record(0) + record(1, name=b"\xff") + record(2) + record(3)
    assert kept(header(4, 3), records, position=102) == {102: b"x", 103: b"x"}
    assert kept(header(4, 3), records, end=102) == {100: b"x", 101: None}
    assert kept(header(4, 3), records + b"more") == {100: b"x", 101: None, 102: b"x", 103: b"x"}


def test_more_placeholders_than_are_made_at_once_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next answer, from where these end."""
    monkeypatch.setattr(module, "MOST_PLACEHOLDERS", 2)
    records = record(0) + record(1, name=b"\xff") + record(2) + record(3, name=b"\xff") + record(4)
    assert salvaged(header(5, 4), records, 100, 105, "broken")[1] == 104
    assert kept(header(5, 4), records) == {100: b"x", 101: None, 102: b"x", 103: None}
    assert kept(header(5, 4), records, position=104) == {104: b"x"}
    assert kept(header(9, 8), b"", position=103) == {103: None, 104: None}
