"""Which epoch what lies at an offset was written in, against a plain table of every offset."""

from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.batches.epochs import UNKNOWN, LogEpochs
from patchline.stream.kafka.batches.layout import blank_header
from tests.stream.kafka.batches.crafted import good, with_bytes


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 3)), max_size=20), st.integers(0, 40))
def test_what_was_seen_last_of_an_offset_counts(seen: list[tuple[int, int]], before: int) -> None:
    """A batch tells of all that lies behind it, until another is seen there."""
    epochs, table = LogEpochs(), [UNKNOWN] * 50
    for offset, epoch in seen:
        epochs.saw(offset, epoch)
        table[offset:] = [epoch] * (50 - offset)
    assert [epochs.at(offset) for offset in range(50)] == table
    known = [(table[offset], offset + 1) for offset in range(before) if table[offset] != UNKNOWN]
    assert epochs.known(before) == (known[-1] if known else None)


def test_batches_tell_their_epochs_and_those_that_stand_for_others_tell_none() -> None:
    """Nor do batches of the formats before; an epoch that is no leader's is taken for unknown."""
    batches = [with_bytes(good(at, b"a", b"b"), 12, bytes([0, 0, 0, at]), seal=False) for at in (0, 2, 4)]
    old = with_bytes(good(6, b"a"), 16, b"\x01", seal=False)
    epochs = LogEpochs()
    epochs.saw_all(b"".join([*batches, old, good(7, b"a")]))
    epochs.saw(9, blank_header(9).leader_epoch)
    assert [epochs.at(offset) for offset in range(6)] == [0, 0, 2, 2, 4, 4]
    assert (epochs.at(6), epochs.at(9)) == (UNKNOWN, UNKNOWN)
    epochs.disbelieve(4)
    assert epochs.known(6) == (2, 4)


def test_only_the_last_are_kept() -> None:
    """A worker runs for years, and each election of a leader is one more."""
    epochs = LogEpochs()
    for epoch in range(1000):
        epochs.saw(epoch, epoch)
    assert (epochs.at(999), epochs.at(936), epochs.at(935)) == (999, 936, UNKNOWN)
