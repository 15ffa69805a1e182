"""What a partition's next owner must know: the frames in flight at a crash, and which log the offset counts in.

It travels as the metadata of the partition's committed offset, so it is as durable as the offset, every worker of the
group sees it, and in normal work it costs nothing: each commit carries it anyway. A worker that leaves in order clears
it. An owner that finds one took over after a crash, and retries the frames that may have been in flight each alone.
While a frame is tried alone the metadata says so; that it still says so to the next owner is a crash of that frame.

The frames in flight are known by their number: the first so many from the committed offset on, as far as the partition
reached when it was taken over.
"""

import msgspec

from patchline.stream.kafka.batches.epochs import UNKNOWN, LogEpochs
from patchline.stream.support.json_text import decode_json

_NO_END = 2**63 - 1


class LogNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which log a partition's offset counts in, as far as it is known: by it the next owner sees that it is another."""

    topic: str | None = None
    """The topic's id."""
    partitions: int | None = None
    """How many partitions the topic had when the group began: those were begun as the settings say."""
    epoch: int | None = None
    """Records before the offset `before` were written in this epoch of the partition's leader, or in an earlier one."""
    before: int | None = None


class _Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The metadata, as JSON."""

    in_flight: int = 0
    """How many frames from the committed offset on may be in flight at once; with `until`, are to be retried alone."""
    until: int | None = None
    """The offset before which frames are to be retried alone."""
    crashes: int = 0
    """How many crashes found the first of them alone in flight."""
    alone: bool = False
    """Whether the first of them is alone in flight."""
    log: LogNote | None = None


class CrashNotes:
    """The notes of one partition, for as long as it is this worker's. Pure bookkeeping.

    Args:
        found: the metadata that the former owner left; anything that is no note says that it left in order.
        end: the partition's end when it was taken over.
        window: frames of the partition that this worker may have in flight at once.
        log: what the offset counts in; noted with it.
    """

    def __init__(self, found: str, *, end: int, window: int, log: LogNote | None = None) -> None:
        self.log = None if log == LogNote() else log
        self._epochs = LogEpochs()
        if log is not None and log.epoch is not None and log.before is not None:
            self._epochs.saw(0, log.epoch)
            self._epochs.saw(log.before, UNKNOWN)
        self.awaited = UNKNOWN
        """The epoch of records that wait to be taken in; see `admits`."""
        self._admitted = UNKNOWN
        note = _decode_note(found)
        self._window = window
        self._left = note.in_flight if note is not None else 0
        self._until = end if note is None or note.until is None else note.until
        self._crashes = note.crashes + note.alone if note is not None else 0
        self._first: int | None = None
        self._taken: list[int] = []

    def suspects(self, start: int) -> int:
        """How many frames from `start` on may have to be retried alone."""
        return self._left if start < self._until else 0

    def take(self, offset: int) -> int | None:
        """Take note of the next frame that is read.

        Returns:
            How many crashes found it alone in flight; None where it need not be tried alone.
        """
        if not self._left or offset >= self._until:
            self._left = 0
            return None
        self._left -= 1
        self._taken.append(offset)
        if self._first is None:
            self._first = offset
            return self._crashes
        return 0

    def metadata(self, offset: int, *, alone: bool = False) -> str:
        """What to commit with an offset; `alone`: the frame there is about to be tried alone."""
        return self._remaining(offset, alone=alone) or _encode_note(
            _Note(in_flight=self._window, log=self._log(offset))
        )

    def farewell(self, offset: int) -> str:
        """What to commit with an offset when the partition is left in order."""
        log = self._log(offset)
        return self._remaining(offset, alone=False) or ("" if log is None else _encode_note(_Note(log=log)))

    @property
    def epoch(self) -> int:
        """That of the records that were read last, or `UNKNOWN`."""
        return self._epochs.at(_NO_END)

    def admits(self, epoch: int) -> bool:
        """Whether records of an epoch of the leader may be taken in.

        Those of a later epoch than what was read last may not before `admit`: a leader that has not all that was read
        writes other records in its place, so it is to say first that it has.
        """
        known = self.known(_NO_END)
        if epoch == UNKNOWN or known is None or epoch <= max(known[0], self._admitted):
            return True
        self.awaited = epoch
        return False

    def admit(self, epoch: int) -> None:
        """Let records of an epoch, as `awaited` had it, be taken in: what was read before is still in the log."""
        self._admitted = max(self._admitted, epoch)

    def read(self, offset: int, epoch: int) -> None:
        """Note that records from an offset on were written in an epoch. Epochs never fall: what says so is damaged."""
        known = self.known(offset)
        self._epochs.saw(offset, UNKNOWN if known is not None and epoch < known[0] else epoch)

    def known(self, before: int) -> tuple[int, int] | None:
        """The last epoch that is known of records before an offset, and the offset behind them: `LogEpochs.known`."""
        return self._epochs.known(before)

    def disbelieve(self, epoch: int) -> None:
        """Forget an epoch that the leader does not know."""
        self._epochs.disbelieve(epoch)

    def _log(self, offset: int) -> LogNote | None:
        """What to note of the log with an offset."""
        if (known := self.known(offset)) is None:
            return self.log
        return msgspec.structs.replace(self.log or LogNote(), epoch=known[0], before=known[1])

    def _remaining(self, offset: int, *, alone: bool) -> str:
        left = self._left + sum(taken >= offset for taken in self._taken)
        if not left or offset >= self._until:
            return ""
        crashes = self._crashes if self._first is None or offset <= self._first else 0
        return _encode_note(
            _Note(in_flight=left, until=self._until, crashes=crashes, alone=alone, log=self._log(offset))
        )


def has_left(found: str) -> bool:
    """Whether metadata is that of a worker that has nothing in flight, and does not note so before each frame."""
    note = _decode_note(found)
    return note is None or not note.in_flight or (note.until is not None and not note.alone)


def log_note(found: str) -> LogNote:
    """What metadata tells of the log that its offset counts in: nothing, where it was written before that was noted."""
    note = _decode_note(found)
    return LogNote() if note is None or note.log is None else note.log


def _decode_note(found: str) -> _Note | None:
    try:
        return decode_json(found, _Note)
    except msgspec.DecodeError:  # also of a value that is JSON but no note: ours are the only offsets of the group
        return None


def _encode_note(note: _Note) -> str:
    return msgspec.json.encode(note).decode()
