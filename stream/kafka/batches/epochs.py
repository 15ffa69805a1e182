"""In which epochs of a partition's leader its record batches were written, as the batches themselves say.

A partition has another epoch after each election of a leader. Batches carry it, records as the client library hands
them on do not. By the epoch of what was read last, a leader tells whether that is still in its log (KIP-101, KIP-320).
"""

from bisect import bisect_right
from struct import Struct

from patchline.stream.kafka.batches.layout import BEFORE_LENGTH_BYTES, MAGIC_AT

UNKNOWN = -1
"""The epoch of what stands for a batch that cannot be read, and of batches of brokers before Kafka 0.11."""
_MOST_SPANS = 64
_HEAD = Struct(">qiib")


class LogEpochs:
    """The epochs of one partition's log, as far as it was read: each begins at an offset, and ends at the next.

    Only the last 64 are kept; what lies before is unknown.
    """

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._epochs: list[int] = []

    def saw(self, offset: int, epoch: int) -> None:
        """Note that what lies from an offset on was written in an epoch; what was noted from there on is forgotten."""
        begins, epochs = self._begins, self._epochs
        if epochs and epochs[-1] == epoch and begins[-1] <= offset:
            return
        while begins and begins[-1] >= offset:
            begins.pop()
            epochs.pop()
        if not epochs or epochs[-1] != epoch:
            begins.append(offset)
            epochs.append(epoch)
            del begins[:-_MOST_SPANS], epochs[:-_MOST_SPANS]

    def saw_all(self, batches: bytes) -> None:
        """Note the epochs of whole batches, which lie one behind the other and can be decoded."""
        at = 0
        while at + MAGIC_AT < len(batches):
            offset, length, epoch, magic = _HEAD.unpack_from(batches, at)
            self.saw(offset, epoch if magic == 2 else UNKNOWN)
            at += BEFORE_LENGTH_BYTES + max(0, length)

    def at(self, offset: int) -> int:
        """The epoch that what lies at an offset was written in, or `UNKNOWN`."""
        place = bisect_right(self._begins, offset)
        return self._epochs[place - 1] if place else UNKNOWN

    def known(self, before: int) -> tuple[int, int] | None:
        """The last epoch that is known of what lies before an offset, and where that epoch ends at the latest.

        Returns:
            The epoch, and the offset behind what was written in it, at most `before`; None where none is known.
        """
        end = before
        for begin, epoch in zip(reversed(self._begins), reversed(self._epochs), strict=True):
            if begin < end:
                if epoch != UNKNOWN:
                    return epoch, end
                end = begin
        return None

    def disbelieve(self, epoch: int) -> None:
        """Take an epoch for unknown: no CRC covers it, and the leader knows none of its number."""
        self._epochs = [UNKNOWN if found == epoch else found for found in self._epochs]
