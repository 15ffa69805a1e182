"""One recipe's learner in this worker, which goes on from the store's newest generation when others went ahead.

The learner's steps run on the engine's thread between batches; the store is read and written on threads of their own.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterator
from functools import partial

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import ANYBODY, Confirmation, Proposal, Unlearning
from patchline.engine.types import Embedded, Image
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.inspection.engine import LearningEngine
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import FeedbackError, UnreadableError
from patchline.stream.model.feedback import Feedback, FeedbackVerdict
from patchline.stream.model.frame import Frame

PASSES_NOTED = 1000
"""Scores of passes that wait for the next update."""
REJECTS_NOTED = 20
"""Recent rejects that a preview looks at."""


class RecipeLearning:
    """Proposes, stores and forgets; whoever calls holds `lock`.

    Args:
        recipe: its name in this service.
        learner: opened on the recipe's store.
        engine: embeds frames; on the engine's thread only.
        evidence: where frames are found by id; None: they must come inline.
        decoder: decodes them as they were when they were judged.
        stream_scores: whether the threshold follows the scores of frames that pass here.
    """

    def __init__(
        self,
        recipe: str,
        learner: Learner,
        engine: LearningEngine,
        evidence: EvidenceStore | None,
        decoder: Decoder,
        *,
        stream_scores: bool = False,
    ) -> None:
        self.lock = asyncio.Lock()
        self._recipe = recipe
        self._learner = learner
        self._engine = engine
        self._evidence = evidence
        self._decoder = decoder
        self._passed: deque[float] | None = deque(maxlen=PASSES_NOTED) if stream_scores else None
        self._behind = False
        self._noted: dict[str, None] = {}

    async def learner(self, at_least: int = 0) -> Learner:
        """The learner, with generation `at_least` or a later one."""
        if self._behind or self._learner.bank.generation < at_least:
            self._learner = await asyncio.to_thread(self._learner.reopen)
        self._behind = False
        return self._learner

    def note_pass(self, score: float) -> None:
        """Remember the score of a frame that passed, for the next update; the oldest beyond 1,000 is forgotten."""
        if self._passed is not None:
            self._passed.append(score)

    def tell_passes(self, learner: Learner) -> None:
        """Let the learner have the scores noted so far: it stores them with the update that follows."""
        while self._passed:
            learner.note_pass(self._passed.popleft())

    async def propose(self, feedback: Feedback, thread: EngineThread, at_least: int = 0) -> Proposal:
        """What the feedback would do; `Learner.commit` takes it.

        Raises:
            FeedbackError: the frame is not to be had, or cannot be read.
            EngineError: the learner refuses it.
        """
        learner = await self.learner(at_least)
        by = {
            "operator": feedback.operator,
            "reason": feedback.reason,
            "time": feedback.time.isoformat(),
            "identity": feedback.identity or ANYBODY,
        }
        if feedback.verdict is FeedbackVerdict.UNLEARN:
            steps = learner.unlearn(Unlearning(feedback_id=feedback.feedback_id, frame=feedback.frame_id, **by))
        else:
            image, score = await self._seen(feedback)
            found = None
            if image is not None:
                found = await thread.among_frames(partial(self._engine.begin_embed_to_learn, self._recipe, image))
            steps = self._confirming(learner, feedback, found, score, by)
        await thread.between_batches(steps)
        assert learner.proposal is not None  # noqa: S101 - the steps have ended
        return learner.proposal

    def _confirming(
        self, learner: Learner, feedback: Feedback, found: Embedded | None, score: float | None, by: dict[str, str]
    ) -> Iterator[None]:
        if found is not None and score is None:
            score = found.score
        confirmation = Confirmation(
            feedback_id=feedback.feedback_id,
            frame=feedback.frame_id,
            patches=found.patches if found is not None else None,
            nearest=found.nearest if found is not None else None,
            score=score or 0.0,
            approved_by=feedback.approved_by,
            **by,
        )
        good = feedback.verdict is FeedbackVerdict.CONFIRM_GOOD
        return learner.confirm_good(confirmation) if good else learner.confirm_defect(confirmation)

    async def warm_up(self, thread: EngineThread) -> None:
        """Measure the reference frames against the bank, which the first update would otherwise wait for."""
        async with self.lock:
            await thread.between_batches((await self.learner()).warm_up())

    async def commit(self) -> MemoryBank:
        """Store what was proposed; raises GenerationConflictError where another writer was first."""
        return await asyncio.to_thread((await self.learner()).commit)

    def forget(self) -> None:
        """Go on from what the store holds next time."""
        self._behind = True

    async def note_rejects(self, thread: EngineThread) -> None:
        """Embed the newest rejects in the evidence store that are not yet known, for previews to look at."""
        if self._evidence is None:
            return
        evidence = self._evidence
        for found in await asyncio.to_thread(evidence.recent_rejects, self._recipe, REJECTS_NOTED):
            frame_id = found.result.frame_id
            if frame_id in self._noted:
                continue
            try:
                image = await self._decoded(found, frame_id)
            except FeedbackError:  # it has expired meanwhile
                continue
            patches = await thread.among_frames(partial(self._engine.begin_embed, self._recipe, image))
            async with self.lock:
                (await self.learner()).note_reject(frame_id, patches)
            self._noted[frame_id] = None
            if len(self._noted) > REJECTS_NOTED:
                del self._noted[next(iter(self._noted))]

    async def _seen(self, feedback: Feedback) -> tuple[Image | None, float | None]:
        """The frame's image, None where it only waits in quarantine, and its score as first seen, if that is kept."""
        evidence = None
        if self._evidence is not None:
            evidence = await asyncio.to_thread(self._evidence.find, feedback.frame_id, [feedback.recipe])
        score = evidence.result.score if evidence is not None else None
        if feedback.image is not None:
            found = await asyncio.to_thread(lambda image: hashlib.sha256(image).hexdigest(), feedback.image)
            _check_seen(feedback, found, "the image that came with it")
            return await self._decode(feedback.frame_id, feedback.image), score
        if evidence is not None:
            _check_seen(feedback, evidence.sha256, "the image that is kept")
            return await self._decoded(evidence, feedback.frame_id), score
        if feedback.approved_by is not None and feedback.image_sha256 is None:
            return None, None
        where = "there is no evidence store" if self._evidence is None else f"not in {self._evidence.url}"
        raise FeedbackError(
            f"frame {feedback.frame_id!r} of recipe {feedback.recipe!r}: {where}; expected a frame that is kept "
            "there (rejects, and a sample of passes, for a limited time), or its image inline"
        )

    async def _decoded(self, found: Evidence, frame_id: str) -> Image:
        assert self._evidence is not None  # noqa: S101 - `found` came from there
        image = await asyncio.to_thread(self._evidence.image, found)
        if image is None:
            raise FeedbackError(f"frame {frame_id!r}: its image is no longer in {self._evidence.url}")
        return await self._decode(frame_id, image)

    async def _decode(self, frame_id: str, image: bytes) -> Image:
        frame = Frame.of_bytes(frame_id, self._recipe, image)
        try:
            return (await self._decoder.decode(frame, image)).prepared
        except UnreadableError as error:
            raise FeedbackError(f"frame {frame_id!r}: {error}") from error


def _check_seen(feedback: Feedback, found: str, what: str) -> None:
    """Refuse feedback on another image than the one that was seen."""
    if feedback.image_sha256 is not None and feedback.image_sha256.lower() != found:
        raise FeedbackError(
            f"frame {feedback.frame_id!r}: {what} has SHA-256 {found}, the feedback is on {feedback.image_sha256}"
        )
