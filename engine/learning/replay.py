"""Every generation made anew from the first and the log of events, and compared with what is stored."""

from collections.abc import Iterator, Sequence

from patchline.engine.bank.events import (
    Chain,
    ConfirmedDefect,
    ConfirmedGood,
    Fitted,
    Held,
    RolledBack,
    StoredFrame,
    ThresholdChosen,
    chain_after,
)
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.reader import GenerationReader
from patchline.engine.bank.state import bank_of, calibration_of, first_state, state_of, vouching
from patchline.engine.coreset.event_log import Learning
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import EngineError
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.types import Rows


def replayed(store: GenerationReader) -> Iterator[tuple[int, str | None]]:
    """Replay the log from generation 1 on; yields each number and how the stored bank differs from it, or None.

    Rows, their order and provenance, radius, calibration scores and threshold must equal, bit for bit. Thresholds
    follow from the calibration frames, so a bank without them is replayed as far as it goes: generation 1.

    Raises:
        BankFileError: a file that the replay needs is missing, truncated or altered.
    """
    newest = store.newest() or 0
    replay = _Replay(store)
    yield 1, None
    for number in range(2, newest + 1):
        manifest = store.manifest(number)
        bank = replay.next()
        if (manifest.rows, manifest.sha256) == (len(bank.rows), bank.sha256):
            yield number, None
        else:
            yield (
                number,
                f"{store.where}: generation {number} is not what its events give: it has {manifest.rows} rows and "
                f"SHA-256 {manifest.sha256}, the replay {len(bank.rows)} and {bank.sha256}",
            )


class _Replay:
    """The banks that the events of a chain give, one after another."""

    def __init__(self, store: GenerationReader) -> None:
        self._store = store
        self._first_manifest = first = store.manifest(1)
        self._bank = self._first_bank = store.bank(1)
        self._first = state_of(self._first_bank, first.learning, first_state(self._first_bank))
        self._state = self._first
        self._events = store.events(store.newest() or 1)
        self._chain: Chain = chain_after(Chain(), self._events[0], ())
        self._calibrations = [self._first_bank.calibration]
        self._references = ReferenceFrames(self._first)
        kept = len(first.calibration)  # all, or none
        folds: Sequence[int | None] = self._first_bank.calibration_folds[:kept] or [None] * kept
        for frame, fold in zip(first.calibration, folds, strict=True):
            self._references = self._references.with_frame(frame.name, "calibration", store.patches(frame), fold)

    def next(self) -> MemoryBank:
        """The bank of the next generation."""
        done = len(self._calibrations)
        event = self._events[done]
        frames = dict(self._chain.frames)
        self._chain = chain_after(self._chain, event, self._events[:done])
        frames |= self._chain.frames
        match event:
            case Held() | ConfirmedDefect() | Fitted() | ThresholdChosen():
                state = self._state
            case ConfirmedGood(frame=frame):
                state, _ = learn(self._state, frame.name, self._store.patches(frame))
            case _:
                state = self._of_log(frames)
        calibration = self._bank.calibration
        if isinstance(event, RolledBack):
            calibration = self._calibrations[event.to - 1]
        elif not isinstance(event, Held | ConfirmedDefect | Fitted):
            self._references = self._references.follow(state)
            recipe = self._first_bank.recipe
            scores = self._references.scores(self._first_bank.scale, recipe.neighbours, recipe.score_patches)
            vouches = vouching(self._first_manifest, self._chain)
            calibration = calibration_of(self._first_bank, state, scores, self._chain, vouches)
        self._calibrations.append(calibration)
        self._state = state
        self._bank = bank_of(self._bank, self._first_bank, state, calibration, event.time)
        return self._bank

    def _of_log(self, frames: dict[str, StoredFrame]) -> OnlineCoreset:
        def patches(name: str) -> Rows:
            return self._store.patches(frames[name])

        state = self._first
        for replayed_log in Learning.replay(self._first, self._chain.log, patches):
            state = replayed_log.state
        return state


def replay_errors(store: GenerationReader) -> Iterator[tuple[int, str | None]]:
    """`replayed`, with an error that ends the replay said of the generation it came at."""
    reached = 0
    try:
        for number, flaw in replayed(store):
            reached = number
            yield number, flaw
    except EngineError as error:
        yield reached + 1, str(error)
