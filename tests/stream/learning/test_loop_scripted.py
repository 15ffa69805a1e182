"""What the loop does around learning: it opens and closes, tells, looks for generations, and forgets after errors."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import BankFileError, EngineError, LearningError
from patchline.engine.types import Verdict
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning import loop as loop_module
from patchline.stream.learning.loop import LearningLoop, _away
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.errors import EvidenceError, FeedbackError, StoreUnavailableError
from patchline.stream.model.feedback import Feedback, FeedbackReply, GenerationAnnounced
from patchline.stream.model.result import GenerationRef, Result
from tests.stream.learning.test_loop import passed
from tests.stream.scripted_learning import Answers, Bank, Inbox, LearningScriptedEngine, World, feedback
from tests.stream.waiting import until


class Learning:
    """A recipe's learning that notes what it is asked; errors are raised first, by the name of what is asked."""

    def __init__(self, **errors: Exception) -> None:
        self.lock = asyncio.Lock()
        self.errors = errors
        self.log: list[str] = []

    @property
    def learned(self) -> list[str]:
        """What was asked of it, but for the rejects, which are noted beside that."""
        return [what for what in self.log if what != "rejects"]

    def _do(self, what: str) -> None:
        self.log.append(what)
        if error := self.errors.pop(what, None):
            raise error

    async def learner(self, at_least: int = 0) -> Any:
        self._do(f"learner {at_least}")
        return SimpleNamespace(knows=lambda _: False)

    def note_pass(self, score: float) -> None:
        self._do(f"pass {score}")

    def tell_passes(self, learner: object) -> None:
        self._do("tell")

    async def propose(self, given: Feedback, thread: EngineThread, at_least: int = 0) -> Any:
        assert self.lock.locked()
        self._do(f"propose {at_least}")
        return SimpleNamespace(hold="no", preview=SimpleNamespace(**dict.fromkeys(PREVIEWED, 0)))

    async def commit(self) -> Bank:
        self._do("commit")
        return Bank(generation=2)

    def forget(self) -> None:
        self._do("forget")

    def passed_over(self) -> list[Any]:
        return []

    async def warm_up(self, thread: EngineThread) -> None:
        self._do("warm")

    async def note_rejects(self, thread: EngineThread) -> None:
        self._do("rejects")


PREVIEWED = (
    "rows_added",
    "rows_removed",
    "threshold_before",
    "threshold_after",
    "rejects",
    "defects",
    "cleared",
    "hidden",
    "defect_ratios",
)


class Told(Inbox):
    """An inbox that notes when it is opened and closed, and what is answered."""

    async def open(self) -> None:
        self.world.log.append("open")

    async def close(self) -> None:
        self.world.log.append("close")

    async def answer(self, feedback: Feedback, reply: FeedbackReply) -> None:
        self.world.log.append(f"answer {reply.outcome.value}")
        await super().answer(feedback, reply)


class Watching(Answers):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.told: list[str] = []

    def feedback(self, reply: FeedbackReply) -> None:
        self.world.log.append("told")
        super().feedback(reply)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.told.append(f"{what}: {error} ({attempt})")


class Line:
    """The loop on scripted parts."""

    def __init__(self, learning: Learning, store: Any = None) -> None:
        self.world = World()
        self.engine = LearningScriptedEngine(self.world)
        self.thread = EngineThread(self.engine)
        self.inbox, self.answers = Told(self.world), Watching(self.world)
        self.loop = LearningLoop(
            inbox=self.inbox,
            recipes={"plate": cast(RecipeLearning, learning)},
            engine=self.engine,
            stores={"plate": store} if store is not None else {},
            active={"plate": 1},
            observer=self.answers,
        )
        self.task = asyncio.create_task(self.loop.run(self.thread))

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.thread.close()


async def test_feedback_is_answered_before_it_is_told_and_the_inbox_is_closed() -> None:
    """The learner is warmed up and shown the newest rejects meanwhile; at the end a preview finds nobody."""
    learning = Learning()
    line = Line(learning)
    await line.inbox.submit(feedback("1"))
    await asyncio.wait_for(line.answers.replies.get(), 20)
    assert line.world.log == ["open", "announce 2", "swap 2", "answer held", "told"]
    assert learning.learned == ["warm", "learner 1", "tell", "propose 0", "commit"]
    assert learning.log.count("rejects") == 1
    assert (await line.loop.preview(feedback("2"))).hold == "no"
    assert learning.learned[-1] == "propose 2"
    await line.end()
    assert line.world.log[-1] == "close"
    with pytest.raises(FeedbackError, match="those that may: plate"):
        await line.loop.preview(feedback("3"))


@pytest.mark.parametrize("error", [LearningError("no"), FeedbackError("no"), ZeroDivisionError("no")])
async def test_a_learner_that_refused_or_broke_is_opened_anew(error: Exception) -> None:
    """What it had in hand is not to be believed any more."""
    learning = Learning(commit=error)
    line = Line(learning)
    await line.inbox.submit(feedback("1"))
    reply = await asyncio.wait_for(line.answers.replies.get(), 20)
    assert reply.outcome.value == "refused"
    assert learning.learned[-2:] == ["commit", "forget"]
    assert line.world.log == ["open", "answer refused", "told"]
    await line.end()


async def test_a_store_that_is_away_is_tried_again_from_what_it_holds_then() -> None:
    """The write may have been carried out: the learner is opened anew before the next attempt."""
    away = BankFileError("away")
    away.__cause__ = OSError("no route")
    learning = Learning(commit=away)
    line = Line(learning)
    await line.inbox.submit(feedback("1"))
    await asyncio.wait_for(line.answers.replies.get(), 20)
    at = learning.learned.index("forget")
    assert learning.learned[at - 1] == "commit"
    assert learning.learned[at + 1 :] == ["learner 1", "tell", "propose 0", "commit"]
    assert line.answers.told == ["learning of plate: away (1)"]
    await line.end()


def test_a_store_that_is_altered_is_not_one_that_is_away() -> None:
    """Only what the operating system says of it passes."""
    error = BankFileError("altered")
    assert _away(error) is error
    error.__cause__ = OSError()
    assert isinstance(_away(error), StoreUnavailableError)


@pytest.mark.parametrize("error", [EvidenceError("gone"), EngineError("gone")])
async def test_what_fails_beside_learning_is_told_and_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejects that cannot be noted, and a learner that cannot be warmed up, stop nothing."""
    monkeypatch.setattr(loop_module, "NOTE_REJECTS_EVERY_S", 0.01)
    learning = Learning(rejects=error, warm=EngineError("cold"))
    line = Line(learning)
    await until(lambda: learning.log.count("rejects") >= 3)
    assert line.answers.told == ["learning of plate: cold (1)", "rejects of plate: gone (1)"]
    await line.end()


async def test_generations_are_looked_for_where_nobody_learns_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """While this worker learns it takes its own; a store that fails is told, and one without generations is left."""
    assert (loop_module.LOOK_EVERY_S, loop_module.NOTE_REJECTS_EVERY_S) == (2.0, 10.0)
    monkeypatch.setattr(loop_module, "LOOK_EVERY_S", 0.01)
    answers: list[Any] = [OSError("no route"), None, 1, 3]
    loaded: list[int] = []

    class Store:
        def newest(self) -> int | None:
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(found, Exception):
                raise found
            return cast("int | None", found)

        def bank(self, generation: int) -> Bank:
            loaded.append(generation)
            return Bank(generation=generation)

    learning = Learning()
    await learning.lock.acquire()
    line = Line(learning, Store())
    await asyncio.sleep(0.1)
    assert len(answers) == 4
    learning.lock.release()
    assert await asyncio.wait_for(line.answers.taken.get(), 20) == 3
    await asyncio.sleep(0.05)
    assert loaded == [3]
    assert line.answers.told == ["generations of plate: no route (1)"]
    await line.end()


@pytest.mark.parametrize("beside", [True, False])
async def test_a_swap_is_short_and_alone_where_the_engine_cannot_do_it_beside(
    beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for free time as learning does."""
    learning = Learning()
    line = Line(learning)
    asked: list[tuple[bool, bool]] = []

    async def between(steps: Iterator[None], *, alone: bool = False, short: bool = False) -> None:
        asked.append((alone, short))

    monkeypatch.setattr(line.engine, "swaps_beside", lambda _: beside)
    monkeypatch.setattr(line.thread, "between_batches", between)
    await line.loop._swap("plate", cast(MemoryBank, Bank(generation=2)), line.thread)
    await line.loop._swap("plate", cast(MemoryBank, Bank(generation=2)), line.thread)
    assert asked == [(not beside, True)]
    await line.end()


async def test_only_scores_of_passes_of_its_recipes_are_noted() -> None:
    """A pass without a score, a reject, and another recipe's pass say nothing."""
    learning = Learning()
    line = Line(learning)

    def told(**changed: Any) -> Result:
        fields = {"recipe": "plate", "score": 1.5, "verdict": Verdict.PASS} | changed
        made = passed(1.5, Verdict.PASS)
        return Result(**{name: getattr(made, name) for name in made.__struct_fields__} | fields)

    for result in (told(), told(score=None), told(verdict=Verdict.REJECT), told(recipe="other")):
        line.loop.result(result)
    assert learning.learned == ["pass 1.5"]
    await line.end()


async def test_a_generation_that_is_in_no_store_holds_up_none_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others announce what they like: it is told, tried once, and the next announcement is followed."""
    asked: list[int] = []

    class Store:
        def newest(self) -> int | None:
            return None

        def bank(self, generation: int) -> Bank:
            asked.append(generation)
            if generation > 2:
                away = BankFileError(f"generation-{generation:06d}.json: no such file")
                raise away from FileNotFoundError(2, "no such file")
            return Bank(generation=generation)

    line = Line(Learning(), Store())
    for number in (999_999, 7, 2):
        generation = GenerationRef(number=number, sha256=f"{number:064d}")
        now = datetime.now(UTC)
        line.inbox.others.put_nowait(
            GenerationAnnounced(recipe="plate", generation=generation, rows=1, threshold=9.0, time=now)
        )
    assert await asyncio.wait_for(line.answers.taken.get(), 20) == 2
    assert asked == [999_999, 7, 2]
    assert line.answers.told[:2] == [
        "generations of plate: generation-999999.json: no such file (1)",
        "generations of plate: generation-000007.json: no such file (1)",
    ]
    await line.end()


async def test_an_answer_repeats_no_more_than_fits() -> None:
    """A learner's error may name thousands of frames."""
    line = Line(Learning(commit=LearningError("x" * 100_000)))
    await line.inbox.submit(feedback("1"))
    reply = await asyncio.wait_for(line.answers.replies.get(), 20)
    assert reply.detail == "x" * 2000
    await line.end()
