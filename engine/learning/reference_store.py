"""The reference frames of a recipe's store: calibration frames, known defects, recent rejects, read when needed."""

from collections.abc import Generator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.reader import REJECTS
from patchline.engine.bank.store import GenerationStore
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import BankFileError, BankFileMissingError
from patchline.engine.learning.reference_frames import Kind, ReferenceFrames
from patchline.engine.types import Rows

RECENT_REJECTS = 20
"""Rejects that a preview is made for."""


class KnownFrames:
    """Keeps reference frames in step with the bank.

    Args:
        store: where their patch embeddings lie.
        calibration: the calibration frames.
        rejects: the recent rejects, the oldest first.
        folds: of each calibration frame, the fold whose rows it passes over; empty where no row is passed over.
    """

    def __init__(
        self,
        store: GenerationStore,
        calibration: Sequence[StoredFrame],
        rejects: Sequence[StoredFrame],
        folds: Sequence[int] = (),
    ) -> None:
        self._store = store
        self._calibration = calibration
        kept = len(calibration)  # all, or none
        self._folds: Sequence[int | None] = folds[:kept] or [None] * kept
        self._rejects = list(rejects)
        self._noted: dict[str, Rows] = {}
        self.unread: dict[str, str] = {}
        """Known defects whose embeddings are lost or damaged, and why: no update is held against them."""
        self.passed_over: list[tuple[Kind, str, str]] = []
        """Frames whose files were passed over: what they are, which one, and why; whoever tells of them empties it."""
        self._references: ReferenceFrames | None = None
        self._scored: list[tuple[ReferenceFrames, NDArray[np.float64]]] = []

    def note_reject(self, frame: str, patches: Rows) -> None:
        """Remember a rejected frame, int16 (P, D), until `RECENT_REJECTS` later ones have come."""
        self._rejects = [kept for kept in self._rejects if kept.name != frame]
        self._noted.pop(frame, None)
        self._noted[frame] = patches
        while len(self._noted) > RECENT_REJECTS:
            del self._noted[next(iter(self._noted))]
        self._rejects = self._rejects[max(0, len(self._rejects) + len(self._noted) - RECENT_REJECTS) :]

    def store_rejects(self) -> tuple[StoredFrame, ...]:
        """The recent rejects, all of them stored, the oldest first."""
        self._rejects += [self._store.keep(name, patches, REJECTS) for name, patches in self._noted.items()]
        self._noted = {}
        return tuple(self._rejects)

    def scores(
        self, references: ReferenceFrames, scale: float, neighbours: int, score_patches: int
    ) -> NDArray[np.float64]:
        """`references.scores`; the two last asked for are remembered, as most go from one update to the next."""
        for known, scores in self._scored:
            if known is references:
                return scores
        scores = references.scores(scale, neighbours, score_patches)
        self._scored = [*self._scored[-1:], (references, scores)]
        return scores

    def take(self, references: ReferenceFrames) -> None:
        """Go on from reference frames that are in step with a later state."""
        self._references = references

    def sync_steps(
        self, state: OnlineCoreset, defects: Mapping[str, StoredFrame]
    ) -> Generator[None, None, ReferenceFrames]:
        """The reference frames, in step with a state of the rows, in slices.

        A known defect or a reject whose embeddings are damaged is left out, and noted (`unread`, `passed_over`).

        Raises:
            BankFileError: a calibration frame's embeddings are missing, truncated or altered, so that no threshold
                follows, or the store cannot be reached.
        """
        references = self._references
        if references is None:
            references = ReferenceFrames(state)
            for frame, fold in zip(self._calibration, self._folds, strict=True):
                references = references.with_frame(frame.name, "calibration", self._store.patches(frame), fold)
                yield
        elif references.state is not state:
            references = yield from references.follow_steps(state)
        known = {frame.name for frame in references.of("defect")}
        for gone in known - defects.keys():
            references = references.without_frame(gone, "defect")
        self.unread = {name: why for name, why in self.unread.items() if name in defects}
        for name, frame in defects.items():
            if name in known:
                continue
            try:
                references = references.with_frame(name, "defect", self._store.patches(frame))
                self.unread.pop(name, None)
            except BankFileError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                if name not in self.unread:
                    self.passed_over.append(("defect", name, str(error)))
                self.unread[name] = str(error)
            yield
        references = yield from self._with_rejects(references)
        self._references = references
        return references

    def _with_rejects(self, references: ReferenceFrames) -> Generator[None, None, ReferenceFrames]:
        held = {frame.name for frame in references.of("reject")}
        for gone in held - {frame.name for frame in self._rejects} - self._noted.keys():
            references = references.without_frame(gone, "reject")
        for frame in tuple(self._rejects):
            if frame.name in held:
                continue
            try:
                references = references.with_frame(frame.name, "reject", self._store.patches(frame, REJECTS))
            except BankFileError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                self._rejects.remove(frame)
                if not isinstance(error, BankFileMissingError):  # else another writer has newer ones, and removed it
                    self.passed_over.append(("reject", frame.name, str(error)))
            yield
        for name, patches in self._noted.items():
            references = references.with_frame(name, "reject", patches)
            yield
        return references
