"""Whatever batches are in an answer, the library reads every offset of them once, and never stops."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.batches.answer import checked_answer, is_quick
from patchline.stream.kafka.batches.placeholders import undecodable
from tests.stream.kafka.batches.crafted import (
    HEADER_BYTES,
    LAST_DELTA_AT,
    at_base,
    control,
    good,
    legacy,
    odd_name,
    read,
    sealed,
    with_bytes,
)


class Log:
    """Batches of a partition, as a broker answers with them."""

    def __init__(self, *batches: bytes) -> None:
        self.batches = batches
        self.ends = [struct.unpack_from(">q", batch)[0] for batch in batches[1:]] + [1_000_000]

    def fetch(self, position: int, size: int = 10**6) -> bytes:
        first = next(n for n, end in enumerate(self.ends) if end > position)
        return b"".join(self.batches[first:])[: max(size, len(self.batches[first]))]

    def consumed(
        self, end: int, *, size: int = 10**6, aborted: Sequence[tuple[int, int]] = ()
    ) -> dict[int, bytes | None]:
        """By offset the value that a consumer reads, None for a placeholder."""
        position, found = 0, dict[int, bytes | None]()
        for _ in range(1000):
            if position >= end:
                return found
            answer = checked_answer(self.fetch(position, size), position)
            data = answer.data
            if answer.left is not None:
                following = next(end for end in self.ends if end > position)
                data = answer.left.until(end if following == 1_000_000 else following, position).data
            had = read(data, position, aborted)
            for record in had.records:
                assert record.offset not in found
                found[record.offset] = record.value if undecodable(record.headers) is None else None
            assert had.position > position, "it reads the same for ever"
            position = had.position
        raise AssertionError("it does not come to an end")


def damaged(batch: bytes) -> bytes:
    return with_bytes(batch, len(batch) - 2, b"\xff", seal=False)


def test_an_answer_in_order_is_not_touched() -> None:
    """The very bytes, with the beginning of a batch at its end."""
    answer = good(0, b"a", b"b") + good(2, b"c") + control(3, 5, commit=True) + good(4, b"d")
    assert checked_answer(answer, 0).data is answer
    cut = answer[:-7]
    assert checked_answer(cut, 0).data is cut
    beginning = good(0, b"a")[:30]
    assert checked_answer(beginning, 0).data is beginning


def test_one_bad_batch_costs_itself_wherever_it_is() -> None:
    """First, between others, last; whole answers and small ones."""
    sound = [good(0, b"a", b"b"), good(2, b"c"), good(3, b"d", b"e")]
    for bad in range(3):
        log = Log(*(damaged(batch) if n == bad else batch for n, batch in enumerate(sound)))
        for size in (10**6, 10):
            found = log.consumed(5, size=size)
            assert sorted(found) == list(range(5))
            assert {offset for offset, value in found.items() if value is None} == ({0, 1}, {2}, {3, 4})[bad]


def test_a_bad_batch_ends_where_the_next_begins_whatever_it_says() -> None:
    """Its CRC covers how many offsets it says that it has, so that is not to be trusted."""
    lying = with_bytes(good(0, b"a", b"b"), LAST_DELTA_AT, struct.pack(">i", 999), seal=False)
    assert Log(lying, good(2, b"c")).consumed(3) == {0: None, 1: None, 2: b"c"}


def test_a_batch_that_the_broker_takes_for_a_later_one_is_passed() -> None:
    """It says that it reaches the position, and the next one begins there."""
    lying = with_bytes(good(0, b"a", b"b"), LAST_DELTA_AT, struct.pack(">i", 999), seal=False)
    assert [r.value for r in read(checked_answer(lying + good(2, b"c"), 2).data, 2).records] == [b"c"]
    cut = checked_answer(lying + good(2, b"c")[:20], 2)
    assert (cut.data, cut.passed_bytes, cut.left) == (b"", len(lying), None)


def test_a_batch_in_the_wrong_place_costs_itself() -> None:
    """No CRC covers where a batch begins, and the library would jump there, or go back for ever."""
    for base in (1, 10**12):
        log = Log(good(0, b"a", b"b"), good(2, b"c", b"d"), good(4, b"e"))
        log.batches = (log.batches[0], at_base(log.batches[1], base), log.batches[2])
        assert log.consumed(5) == {0: b"a", 1: b"b", 2: None, 3: None, 4: b"e"}


def test_a_length_that_is_none_ends_the_answer() -> None:
    """What is before it is read; the library would stop at it."""
    answer = good(0, b"a") + with_bytes(good(1, b"b"), 8, struct.pack(">i", -1), seal=False)
    assert read(checked_answer(answer, 0).data, 0).position == 1


def test_aborted_transactions_and_their_ends_become_no_frames() -> None:
    """Also where what they hold, or how they end, cannot be decoded."""
    mine = good(0, b"x", producer=5)
    for aborted in (mine, damaged(mine), odd_name(mine)):
        for end in (control(1, 5, commit=False), damaged(control(1, 5, commit=False))):
            log = Log(aborted, end, good(2, b"c"))
            assert log.consumed(3, aborted=[(5, 0)]) == {2: b"c"}
    committed = Log(odd_name(mine), control(1, 5, commit=True), good(2, b"c"))
    assert committed.consumed(3) == {0: None, 2: b"c"}


def test_behind_a_broken_end_of_a_transaction_its_producer_is_believed_again() -> None:
    """The answer ends there: the broker's next one no longer says that the producer's transaction was aborted."""
    answer = good(0, b"x", producer=5) + damaged(control(1, 5, commit=False)) + good(2, b"c", producer=5)
    had = read(checked_answer(answer, 0).data, 0, [(5, 0)])
    assert (had.records, had.position) == ([], 2)


def test_batches_of_two_formats_are_read_one_after_the_other() -> None:
    """The library takes all of an answer for the format of the first."""
    log = Log(legacy(0, b"a"), good(1, b"b"), legacy(2, b"c"))
    assert log.consumed(3) == {0: b"a", 1: b"b", 2: b"c"}


@pytest.mark.parametrize(
    ("answer", "quick"),
    [
        (good(0, b"a") + good(1, b"b")[:-3], True),
        (good(0, b"a", codec=1), False),
        (legacy(0, b"a", b"b", b"c"), False),
        (b"".join(good(n, b"a") for n in range(17)), False),
        (good(0, *[b"a"] * 1001), False),
        (good(0, bytes(3 * 2**20)), False),
        (with_bytes(good(0, b"a"), 8, struct.pack(">i", -100), seal=False), True),
    ],
    ids=["begun", "compressed", "of an old format", "many batches", "many records", "large", "of no length"],
)
def test_what_takes_its_time_is_for_a_thread(answer: bytes, quick: bool) -> None:
    """Heartbeats go on meanwhile."""
    assert is_quick(answer) is quick


SOUND = [
    good(0, b"a", b"bb", b""),
    good(3, b"c", codec=1),
    odd_name(good(4, b"d", b"e")),
    good(6, b"f" * 200, b"g", codec=4, headers=[("ce_id", None), ("x", b"y")]),
    good(8, b"h"),
]
changes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 400), st.binary(min_size=1, max_size=6), st.booleans()), max_size=4
)


@given(changes, st.sampled_from([10, 200, 10**6]))
def test_every_offset_is_read_once_whatever_is_damaged(
    changes: Sequence[tuple[int, int, bytes, bool]], size: int
) -> None:
    """Any bytes of the records and, where the CRC tells, of the header; brokers look at the rest."""
    batches = list(SOUND)
    for number, at, found, seal in changes:
        batch = batches[number]
        at = HEADER_BYTES + at % (len(batch) - HEADER_BYTES) if seal else 17 + at % (len(batch) - 17)
        changed = with_bytes(batch, at, found[: len(batch) - at], seal=False)
        if changed != batch and seal and sealed(batch) == batch:
            changed = sealed(changed)
        if changed[21:23] == batch[21:23]:  # what turns into the end of a transaction is no record
            batches[number] = changed
    assert sorted(Log(*batches).consumed(9, size=size)) == list(range(9))
