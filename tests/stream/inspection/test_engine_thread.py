import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest

from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine import Maps
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import EngineFailedError
from tests.stream.scripted import ScriptedEngine, picture


class Overlapping(ScriptedEngine):
    """Begins with a batch, and answers it when it is told to."""

    slots = 3

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[int, Maps]] = []
        self.answers: list[Future[list[Inspection]]] = []

    def begin(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> "Future[list[Inspection]]":
        self.begun.append((len(frames), maps))
        self.threads.add(threading.get_ident())
        self.answers.append(Future())
        return self.answers[-1]


Make = Callable[[ScriptedEngine], EngineThread]


@pytest.fixture
async def on_thread() -> AsyncIterator[Make]:
    """Makes the thread of an engine, and ends it."""
    made: list[EngineThread] = []

    def make(engine: ScriptedEngine) -> EngineThread:
        made.append(EngineThread(engine, maps="rejects"))
        return made[-1]

    yield make
    for thread in made:
        thread.close()


FRAMES = [("plate", picture(50)), ("plate", picture(200))]


async def test_an_engine_is_called_on_one_thread_that_is_not_the_loops(on_thread: Make) -> None:
    """Warming up, batches and steps of learning all run there."""
    engine = ScriptedEngine()
    thread = on_thread(engine)
    assert thread.slots == 1
    await thread.warm_up()
    assert engine.warm
    assert [round(each.score, -1) for each in await thread.inspect(FRAMES)] == [50, 200]
    await thread.inspect(FRAMES[:1])

    def steps() -> Iterator[None]:
        engine.threads.add(threading.get_ident())
        yield

    await thread.between_batches(steps())
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads
    assert engine.batches == [2, 1]


async def test_an_overlapping_engine_begins_with_the_next_batch_before_it_has_answered_the_last(
    on_thread: Make,
) -> None:
    """Its answers come when they come, and it is told for which frames maps are kept."""
    engine = Overlapping()
    thread = on_thread(engine)
    assert thread.slots == 3
    first, second = (asyncio.create_task(thread.inspect(FRAMES[:n])) for n in (1, 2))
    async with asyncio.timeout(10):
        while len(engine.answers) < 2:
            await asyncio.sleep(0.01)
    assert engine.begun == [(1, "rejects"), (2, "rejects")]
    found = ScriptedEngine().inspect(FRAMES)
    engine.answers[1].set_result(found)
    assert await second == found
    assert not first.done()
    engine.answers[0].set_result(found[:1])
    assert await first == found[:1]


async def test_an_engine_that_fails_is_named_once_with_the_recipes_of_the_batch(on_thread: Make) -> None:
    """Its own error is the cause, and the next batch is judged."""
    thread = on_thread(ScriptedEngine(["a", "b"], fail_on=1))
    frames = [("b", picture(9)), ("a", picture(9)), ("b", picture(9))]
    with pytest.raises(EngineFailedError, match=r"batch of 3 \(recipes: a, b\): RuntimeError: scripted") as raised:
        await thread.inspect(frames)
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert len(await thread.inspect(frames)) == 3


async def test_every_frame_of_a_batch_has_an_answer(on_thread: Make) -> None:
    """An engine that gives fewer, or more, has failed."""

    class Short(ScriptedEngine):
        def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
            found = super().inspect(frames, maps=maps)
            return found[:-1] if len(found) == 2 else [*found, replace(found[0])]

    thread = on_thread(Short())
    with pytest.raises(EngineFailedError, match="the engine gave 1 inspections for 2 frames"):
        await thread.inspect(FRAMES)
    with pytest.raises(EngineFailedError, match="the engine gave 2 inspections for 1 frames"):
        await thread.inspect(FRAMES[:1])


async def test_what_is_begun_among_frames_is_answered_to_who_asked(on_thread: Make) -> None:
    """Answers and errors of steps and of what is begun belong to their callers; the engine goes on."""
    thread = on_thread(ScriptedEngine())
    later: Future[int] = Future()
    asked = asyncio.create_task(thread.among_frames(lambda: later))
    await asyncio.sleep(0.01)
    assert not asked.done()
    later.set_result(7)
    assert await asked == 7

    def failing() -> Iterator[None]:
        yield
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await thread.between_batches(failing())
    assert len(await thread.inspect(FRAMES)) == 2


async def test_a_thread_that_is_closed_takes_no_more(on_thread: Make) -> None:
    """What comes after the end is cancelled."""
    thread = on_thread(ScriptedEngine())
    await thread.warm_up()
    thread.close()
    with pytest.raises(asyncio.CancelledError):
        await thread.among_frames(Future[int])
