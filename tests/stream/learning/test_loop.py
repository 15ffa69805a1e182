"""Feedback -> learn -> store -> announce -> swap, and what becomes of feedback that cannot be learned."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import pytest

from patchline.engine.errors import BankFileError, LearningError
from patchline.engine.learning.learner import Learner
from patchline.engine.types import Verdict
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.loop import Generations, LearningLoop
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.feedback import FeedbackOutcome, GenerationAnnounced
from patchline.stream.model.limits import Limits
from patchline.stream.model.result import GenerationRef, Result
from tests.stream.scripted_learning import (
    Answers,
    Bank,
    Inbox,
    LearningScriptedEngine,
    Running,
    ScriptedLearner,
    ScriptedStore,
    World,
    feedback,
)
from tests.stream.waiting import until

Start: TypeAlias = Callable[[], AbstractAsyncContextManager[Running]]


@pytest.fixture
def running() -> Start:
    """Starts the loop on scripted parts, and ends it."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Running]:
        world, answers = World(), Answers()
        engine, inbox, learner = LearningScriptedEngine(world), Inbox(world), ScriptedLearner(world)
        decoder = Decoder(engine.prepare, ["plate"], Limits())
        learning = RecipeLearning("plate", cast(Learner, learner), engine, None, decoder, stream_scores=True)
        loop = LearningLoop(
            inbox=inbox,
            recipes={"plate": learning},
            engine=engine,
            stores={"plate": cast(Generations, ScriptedStore(world))},
            active={"plate": 1},
            observer=answers,
        )
        thread = EngineThread(engine)
        task = asyncio.create_task(loop.run(thread))
        yield Running(world, learner, inbox, answers, loop)
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        thread.close()

    return run


async def test_the_loop_learns_stores_announces_and_swaps_in_that_order(running: Start) -> None:
    """Nothing is announced that is not stored, nothing judges that was not announced; the answer names it."""
    async with running() as line:
        reply = await line.ask("1")
        assert line.world.log == ["learn f", "store", "announce 2", "swap 2"]
        assert (reply.outcome, reply.generation) == (
            FeedbackOutcome.LEARNED,
            GenerationRef(number=2, sha256=f"{2:064d}"),
        )
        assert reply.preview is not None
        assert (reply.preview.rows_added, reply.preview.cleared) == (3, ("a",))
        assert reply.preview.defect_ratios == {"scratch": 1.25}
        assert line.inbox.reply("1") == reply


async def test_the_same_feedback_again_changes_nothing_and_is_announced_again(running: Start) -> None:
    """A worker may have been killed between storing and announcing: what comes again is announced, not learned."""
    async with running() as line:
        line.world.applied.append("1")
        line.world.bank = line.learner.bank = Bank(generation=2)
        reply = await line.ask("1")
        assert reply.outcome is FeedbackOutcome.UNCHANGED
        assert line.world.log == ["announce 2", "swap 2"]


async def test_a_generation_that_nobody_announced_is_followed(running: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """`patchline bank` writes to the store and tells no worker: they look, and judge with what is newest."""
    monkeypatch.setattr("patchline.stream.learning.loop.LOOK_EVERY_S", 0.01)
    async with running() as line:
        line.world.bank = Bank(generation=4)
        assert await asyncio.wait_for(line.answers.taken.get(), 60) == 4
        assert line.world.log == ["swap 4"]
        reply = await line.ask("1")
        assert reply.generation is not None
        assert reply.generation.number == 5


async def test_where_another_writer_was_first_it_is_learned_from_there(running: Start) -> None:
    """A conflict of writers ends in the generation after the other's."""
    async with running() as line:
        line.world.bank = Bank(generation=5)
        reply = await line.ask("1")
        assert reply.generation is not None
        assert reply.generation.number == 6
        assert line.world.log == ["learn f", "learn f", "store", "announce 6", "swap 6"]


async def test_what_is_held_is_answered_with_its_reason(running: Start) -> None:
    """A held frame makes a generation that judges as before, and the answer says whom it waits for."""
    async with running() as line:
        line.world.hold = "it would hide 1 of 1 known defects: d"
        reply = await line.ask("1")
        assert (reply.outcome, reply.detail) == (FeedbackOutcome.HELD, line.world.hold)


@pytest.mark.parametrize(
    ("more", "fail", "said"),
    [
        ({"recipe": "other"}, None, "recipe 'other' does not learn here, expected one of: plate"),
        ({"image": None}, None, "there is no evidence store; expected a frame that is kept"),
        ({"image": b"\xff\xd8\xff nothing"}, None, "frame 'f': the JPEG"),
        ({}, LearningError("frame 'f': not so"), "frame 'f': not so"),
        ({}, ZeroDivisionError("x"), "failed: ZeroDivisionError: x"),
    ],
)
async def test_what_cannot_be_learned_is_refused_and_the_next_is_learned(
    running: Start, more: dict[str, Any], fail: Exception | None, said: str
) -> None:
    """Whatever is wrong with one feedback is said in its answer, and stops neither learning nor inspection."""
    async with running() as line:
        line.learner.fail = fail
        reply = await line.ask("1", **more)
        assert reply.outcome is FeedbackOutcome.REFUSED
        assert said in reply.detail
        assert (await line.ask("2")).outcome is FeedbackOutcome.LEARNED


async def test_generations_of_other_workers_are_followed_once(running: Start) -> None:
    """A newer one is loaded and judges; an older one, another recipe's, or one whose sum differs does not."""
    async with running() as line:

        def announced(recipe: str, number: int, sha256: str) -> GenerationAnnounced:
            generation = GenerationRef(number=number, sha256=sha256)
            return GenerationAnnounced(
                recipe=recipe, generation=generation, rows=1, threshold=9.0, time=datetime.now(UTC)
            )

        for recipe, number, sha256 in (("other", 9, "x"), ("plate", 1, "x"), ("plate", 3, "x")):
            line.inbox.others.put_nowait(announced(recipe, number, sha256))
        refused = await asyncio.wait_for(line.answers.refused.get(), 60)
        assert refused == f"plate 3: generation 3 of plate has SHA-256 {3:064d}, x was announced"
        line.inbox.others.put_nowait(announced("plate", 4, f"{4:064d}"))
        assert await asyncio.wait_for(line.answers.taken.get(), 60) == 4
        assert line.world.log == ["swap 4"]


async def test_scores_of_passes_go_with_the_next_update(running: Start) -> None:
    """What has passed since the last update is told to the learner before the next, once; rejects are not."""
    async with running() as line:
        for score, verdict in ((1.5, Verdict.PASS), (20.0, Verdict.REJECT), (2.5, Verdict.PASS)):
            line.loop.result(passed(score, verdict))
        assert line.world.passed == []
        await line.ask("1")
        await line.ask("2")
        assert line.world.passed == [1.5, 2.5]


def passed(score: float, verdict: Verdict) -> Result:
    now = datetime.now(UTC)
    return Result(
        frame_id="f",
        camera="c",
        recipe="plate",
        time=now,
        inspected_at=now,
        verdict=verdict,
        latency_ms=1.0,
        score=score,
    )


async def test_a_preview_changes_nothing(running: Start) -> None:
    """What an update would do is told without storing, announcing or swapping anything."""
    async with running() as line:
        await line.ask("0", recipe="other")  # the loop has begun
        preview = await line.loop.preview(feedback("p"))
        assert (preview.rows_added, preview.threshold_after) == (3, 9.5)
        assert line.world.log == ["learn f"]


async def test_an_older_generation_never_replaces_a_newer_one(running: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation whose loading took long comes after a newer one judges already: it is not swapped in."""
    async with running() as line:
        gate, asked = threading.Event(), threading.Event()
        load = ScriptedStore.bank

        def slow(store: ScriptedStore, generation: int) -> Bank:
            if generation == 3:
                asked.set()
                assert gate.wait(60)
            return load(store, generation)

        monkeypatch.setattr(ScriptedStore, "bank", slow)
        generation = GenerationRef(number=3, sha256=f"{3:064d}")
        now = datetime.now(UTC)
        line.inbox.others.put_nowait(
            GenerationAnnounced(recipe="plate", generation=generation, rows=1, threshold=9.0, time=now)
        )
        await until(asked.is_set)
        line.world.bank = Bank(generation=3)
        reply = await line.ask("1")
        assert reply.generation is not None
        assert reply.generation.number == 4
        gate.set()
        line.inbox.others.put_nowait(
            GenerationAnnounced(
                recipe="plate",
                generation=GenerationRef(number=5, sha256=f"{5:064d}"),
                rows=1,
                threshold=9.0,
                time=now,
            )
        )
        assert [await asyncio.wait_for(line.answers.taken.get(), 60) for _ in range(2)] == [4, 5]
        assert line.world.log[-2:] == ["swap 4", "swap 5"]
        assert "swap 3" not in line.world.log


async def test_the_generation_that_judges_is_not_swapped_in_again(running: Start) -> None:
    """Feedback that was applied before is announced again; where its generation judges, nothing is exchanged."""
    async with running() as line:
        assert (await line.ask("1")).outcome is FeedbackOutcome.LEARNED
        assert (await line.ask("1")).outcome is FeedbackOutcome.UNCHANGED
        assert line.world.log == ["learn f", "store", "announce 2", "swap 2", "announce 2"]


@pytest.mark.parametrize("error", [BankFileError("row_frame must be int32"), ValueError("no"), MemoryError("no")])
async def test_a_generation_that_is_damaged_is_refused_and_the_former_judges_on(
    running: Start, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever is wrong with it: it is said once a while, the worker lives, and the next good one is taken."""
    monkeypatch.setattr("patchline.stream.learning.loop.LOOK_EVERY_S", 0.01)
    load = ScriptedStore.bank

    def damaged(store: ScriptedStore, generation: int) -> Bank:
        if generation == 3:
            raise error
        return load(store, generation)

    monkeypatch.setattr(ScriptedStore, "bank", damaged)
    async with running() as line:
        line.world.bank = Bank(generation=3)
        assert await asyncio.wait_for(line.answers.refused.get(), 60) == f"plate 3: {error}"
        await asyncio.sleep(0.1)
        assert line.answers.refused.empty()  # it is not looked at again each time
        assert line.world.log == []
        line.world.bank = Bank(generation=4)
        assert await asyncio.wait_for(line.answers.taken.get(), 60) == 4
        assert line.world.log == ["swap 4"]


async def test_a_generation_that_was_mended_is_taken(running: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is looked at again later."""
    monkeypatch.setattr("patchline.stream.learning.loop.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("patchline.stream.learning.loop.REFUSED_FOR_S", 0.05)
    load, wrong = ScriptedStore.bank, [BankFileError("altered")] * 2

    def mended(store: ScriptedStore, generation: int) -> Bank:
        if wrong:
            raise wrong.pop()
        return load(store, generation)

    monkeypatch.setattr(ScriptedStore, "bank", mended)
    async with running() as line:
        line.world.bank = Bank(generation=3)
        assert await asyncio.wait_for(line.answers.taken.get(), 60) == 3
        assert line.answers.refused.qsize() == 2


async def test_what_the_learner_passes_over_is_told(running: Start) -> None:
    """A known defect and a reject whose files are damaged, with the recipe and the frame, once."""
    async with running() as line:
        line.learner.damaged = [("defect", "scratch", "altered"), ("reject", "f9", "truncated")]
        await line.ask("1")
        await line.ask("2")
        assert line.answers.damaged == [
            ("known_defect", "plate: scratch", "altered"),
            ("reject", "plate: f9", "truncated"),
        ]


async def test_a_store_that_is_away_holds_up_nothing_and_is_looked_into_again(
    running: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not a generation that is wrong: it is told as what is away, and taken once the store is there."""
    monkeypatch.setattr("patchline.stream.learning.loop.LOOK_EVERY_S", 0.01)
    load, away = ScriptedStore.bank, [BankFileError("away"), OSError("no route")]
    away[0].__cause__ = OSError("no route")

    def reached(store: ScriptedStore, generation: int) -> Bank:
        if away:
            raise away.pop()
        return load(store, generation)

    monkeypatch.setattr(ScriptedStore, "bank", reached)
    async with running() as line:
        line.world.bank = Bank(generation=3)
        assert await asyncio.wait_for(line.answers.taken.get(), 60) == 3
        assert (line.answers.retries.qsize(), line.answers.refused.qsize()) == (2, 0)
