"""The loop back: feedback -> learn -> store -> announce -> swap.

`_learn` is that loop; everything else here is asking for feedback, answering it, and following what others learned.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import BankFileError, EngineError, GenerationConflictError
from patchline.engine.learning.requests import Proposal
from patchline.engine.types import Verdict
from patchline.stream.inspection.engine import LearningEngine
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.ageing import RowAgeing
from patchline.stream.learning.inbox import FeedbackInbox
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.errors import EvidenceError, FeedbackError, StoreUnavailableError, StreamError
from patchline.stream.model.feedback import Feedback, FeedbackOutcome, FeedbackReply, GenerationAnnounced, UpdatePreview
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import GenerationRef, Result
from patchline.stream.ports import Listener
from patchline.stream.support.retry import retry_until_done

NOTE_REJECTS_EVERY_S = 10.0
LOOK_EVERY_S = 2.0
"""How often the stores are asked for generations that nobody announced: `patchline bank` makes such."""


class Generations(Protocol):
    """What is asked of a recipe's store."""

    def newest(self) -> int | None:
        """The newest generation's number."""

    def bank(self, generation: int) -> MemoryBank:
        """A generation's bank; raises BankFileError."""


class LearningLoop(Listener):
    """Learns what operators confirm, and follows what other workers learned; a `SideTask` of the pipeline.

    Args:
        inbox: feedback, replies and generations.
        recipes: the learning of each recipe that may learn.
        engine: whose banks are exchanged, on the engine's thread.
        stores: each of those recipes' generations; read on threads.
        active: the generation each recipe is judged by at the start.
        ageing: lets unused rows go, where a recipe says so.
        observer: told of answers and generations.
    """

    def __init__(
        self,
        *,
        inbox: FeedbackInbox,
        recipes: Mapping[str, RecipeLearning],
        engine: LearningEngine,
        stores: Mapping[str, Generations],
        active: Mapping[str, int],
        ageing: RowAgeing | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.inbox = inbox
        self._recipes = recipes
        self._engine = engine
        self._stores = stores
        self._active = dict(active)
        self._ageing = ageing
        self._observer = observer or Observer()
        self._swapping = asyncio.Lock()
        self._thread: EngineThread | None = None

    def result(self, result: Result) -> None:
        """See `Listener`."""
        learning = self._recipes.get(result.recipe)
        if learning is not None and result.verdict is Verdict.PASS and result.score is not None:
            learning.note_pass(result.score)

    async def run(self, thread: EngineThread) -> None:
        """Learn and follow until cancelled."""
        self._thread = thread
        await retry_until_done("feedback", self.inbox.open, self._observer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._warm_up(thread))
                tasks.create_task(self._answer_all(thread))
                tasks.create_task(self._follow_all(thread))
                tasks.create_task(self._look_all(thread))
                if self._ageing is not None:
                    tasks.create_task(self._ageing.run(thread, self._take))
                tasks.create_task(self._note_rejects(thread))
        finally:
            self._thread = None
            await self.inbox.close()

    async def _warm_up(self, thread: EngineThread) -> None:
        for recipe, learning in self._recipes.items():
            try:
                await learning.warm_up(thread)
            except EngineError as error:  # feedback will be told of it
                self._observer.retrying(f"learning of {recipe}", error, 1)

    async def _answer_all(self, thread: EngineThread) -> None:
        async for feedback in self.inbox.feedback():
            reply = await self._answer(feedback, thread)
            await self.inbox.answer(feedback, reply)
            self._observer.feedback(reply)

    async def _answer(self, feedback: Feedback, thread: EngineThread) -> FeedbackReply:
        learning = self._recipes.get(feedback.recipe)
        if learning is None:
            known = ", ".join(sorted(self._recipes)) or "none"
            return _reply(
                feedback,
                FeedbackOutcome.REFUSED,
                f"recipe {feedback.recipe!r} does not learn here, expected one of: {known}",
            )
        try:
            return await retry_until_done(
                f"learning of {feedback.recipe}", lambda: self._learn(learning, feedback, thread), self._observer
            )
        except (FeedbackError, EngineError) as error:
            learning.forget()
            return _reply(feedback, FeedbackOutcome.REFUSED, str(error))
        except StreamError:
            raise
        except Exception as error:  # one feedback that breaks the learner must not break it again and again
            learning.forget()
            return _reply(feedback, FeedbackOutcome.REFUSED, f"failed: {type(error).__name__}: {error}")

    async def _learn(self, learning: RecipeLearning, feedback: Feedback, thread: EngineThread) -> FeedbackReply:
        """Feedback -> learn -> store -> announce -> swap; where another writer was first, once more from its state."""
        async with learning.lock:
            while True:
                try:
                    learner = await learning.learner(self._active[feedback.recipe])
                    if learner.knows(feedback.feedback_id):
                        # The last attempt may have ended before this.
                        await self._take(feedback.recipe, learner.bank, feedback.feedback_id, feedback.operator)
                        return _reply(feedback, FeedbackOutcome.UNCHANGED, "applied before", learner.bank)
                    learning.tell_passes(learner)
                    proposal = await learning.propose(feedback, thread)
                    bank = await learning.commit()
                except GenerationConflictError:
                    learning.forget()
                    continue
                except BankFileError as error:
                    learning.forget()
                    raise _away(error) from error
                await self._take(feedback.recipe, bank, feedback.feedback_id, feedback.operator)
                outcome = FeedbackOutcome.LEARNED if proposal.hold is None else FeedbackOutcome.HELD
                return _reply(feedback, outcome, proposal.hold or "", bank, preview_of(proposal))

    async def _take(self, recipe: str, bank: MemoryBank, feedback_id: str, operator: str) -> None:
        """Announce a stored generation, then judge with it."""
        thread = self._thread
        assert thread is not None  # noqa: S101 - the loop runs
        announced = GenerationAnnounced(
            recipe=recipe,
            generation=_ref(bank),
            rows=len(bank.rows),
            threshold=bank.threshold,
            time=datetime.now(UTC),
            feedback_id=feedback_id,
            operator=operator,
        )
        await self.inbox.announce(announced)
        await self._swap(recipe, bank, thread)

    async def _swap(self, recipe: str, bank: MemoryBank, thread: EngineThread) -> None:
        async with self._swapping:
            if bank.generation <= self._active[recipe]:
                return
            alone = not self._engine.swaps_beside(recipe)
            await thread.between_batches(self._engine.swap_steps(recipe, bank), alone=alone, short=True)
            self._active[recipe] = bank.generation
        self._observer.generation(recipe, bank)

    async def _follow_all(self, thread: EngineThread) -> None:
        async for announced in self.inbox.announced():
            if announced.generation.number > self._active.get(announced.recipe, announced.generation.number):
                await self._follow(announced, thread)

    async def _follow(self, announced: GenerationAnnounced, thread: EngineThread) -> None:
        wanted = announced.generation
        await self._take_stored(announced.recipe, wanted.number, thread, wanted.sha256)

    async def _take_stored(self, recipe: str, number: int, thread: EngineThread, sha256: str | None = None) -> None:
        """Judge with a generation of the store; where it is not the one announced, the former judges on."""

        async def load() -> MemoryBank:
            try:
                return await asyncio.to_thread(self._stores[recipe].bank, number)
            except BankFileError as error:
                raise _away(error) from error

        name = f"generation {number} of {recipe}"
        try:
            bank = await retry_until_done(name, load, self._observer)
            if sha256 is not None and bank.sha256 != sha256:
                raise EngineError(f"{name} has SHA-256 {bank.sha256}, {sha256} was announced")
            await self._swap(recipe, bank, thread)
        except EngineError as error:
            self._observer.retrying(name, error, 1)

    async def _look_all(self, thread: EngineThread) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for recipe, store in self._stores.items():
                if recipe in self._recipes and self._recipes[recipe].lock.locked():
                    continue  # what this worker learns itself, it takes itself
                try:
                    newest = await asyncio.to_thread(store.newest)
                except (EngineError, OSError) as error:
                    self._observer.retrying(f"generations of {recipe}", error, 1)
                    continue
                if newest is not None and newest > self._active[recipe]:
                    await self._take_stored(recipe, newest, thread)

    async def _note_rejects(self, thread: EngineThread) -> None:
        while True:
            for recipe, learning in self._recipes.items():
                try:
                    await learning.note_rejects(thread)
                except (EvidenceError, EngineError) as error:
                    self._observer.retrying(f"rejects of {recipe}", error, 1)
            await asyncio.sleep(NOTE_REJECTS_EVERY_S)

    async def preview(self, feedback: Feedback) -> UpdatePreview:
        """What feedback would do, without doing it.

        Raises:
            FeedbackError: the recipe does not learn here, the frame is not to be had, or the service is starting.
            EngineError: the learner refuses it.
        """
        learning, thread = self._recipes.get(feedback.recipe), self._thread
        if learning is None or thread is None:
            known = ", ".join(sorted(self._recipes)) or "none"
            raise FeedbackError(f"recipe {feedback.recipe!r} does not learn here now; those that may: {known}")
        async with learning.lock:
            return preview_of(await learning.propose(feedback, thread, self._active[feedback.recipe]))


def preview_of(proposal: Proposal) -> UpdatePreview:
    """A proposal's effects, as messages carry them."""
    effects = proposal.preview
    return UpdatePreview(
        rows_added=effects.rows_added,
        rows_removed=effects.rows_removed,
        threshold_before=effects.threshold_before,
        threshold_after=effects.threshold_after,
        cleared=effects.cleared,
        rejects=effects.rejects,
        hidden=effects.hidden,
        defects=effects.defects,
        hold=proposal.hold,
        defect_ratios=effects.defect_ratios,
    )


def _away(error: BankFileError) -> BankFileError | StoreUnavailableError:
    """A store that cannot be reached may be reached later; one that is altered stays so."""
    return StoreUnavailableError(str(error)) if isinstance(error.__cause__, OSError) else error


def _ref(bank: MemoryBank) -> GenerationRef:
    return GenerationRef(number=bank.generation, sha256=bank.sha256)


def _reply(
    feedback: Feedback,
    outcome: FeedbackOutcome,
    detail: str,
    bank: MemoryBank | None = None,
    preview: UpdatePreview | None = None,
) -> FeedbackReply:
    return FeedbackReply(
        feedback_id=feedback.feedback_id,
        recipe=feedback.recipe,
        outcome=outcome,
        time=datetime.now(UTC),
        frame_id=feedback.frame_id,
        verdict=feedback.verdict,
        operator=feedback.operator,
        identity=feedback.identity,
        detail=detail,
        generation=_ref(bank) if bank is not None else None,
        preview=preview,
    )
