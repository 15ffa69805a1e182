import asyncio
from contextlib import AbstractAsyncContextManager

from patchline.stream.pipeline.gate import Gate


async def test_one_alone_waits_for_those_inside_and_nobody_overtakes_it() -> None:
    """Whoever arrives after one that wants to be alone waits until that one has left."""
    gate, told = Gate(), list[str]()
    leave = {name: asyncio.Event() for name in ("a", "b", "one", "c", "d")}

    async def visit(name: str, *, alone: bool = False) -> None:
        async with gate.alone() if alone else gate.together():
            told.append(name)
            await leave[name].wait()
        told.append(f"{name} left")

    async def turn() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as visits:
        for name in ("a", "b"):
            visits.create_task(visit(name))
        visits.create_task(visit("one", alone=True))
        for name in ("c", "d"):
            visits.create_task(visit(name))
        await turn()
        assert told == ["a", "b"]
        leave["a"].set()
        await turn()
        assert told == ["a", "b", "a left"]
        leave["b"].set()
        await turn()
        assert told[3:] == ["b left", "one"]
        leave["one"].set()
        await turn()
        assert told[5:] == ["one left", "c", "d"]
        leave["c"].set()
        leave["d"].set()


async def test_one_that_gives_up_waiting_holds_nobody_up() -> None:
    """A cancelled visitor leaves no trace, whether it waited or had just been let in."""
    gate, entered = Gate(), list[str]()

    async def visit(name: str, *, alone: bool) -> None:
        async with gate.alone() if alone else gate.together():
            entered.append(name)

    for let_in in (False, True):
        async with gate.together():
            gone = asyncio.create_task(visit("gone", alone=True))
            behind = asyncio.create_task(visit("behind", alone=False))
            await asyncio.sleep(0)
            if not let_in:
                gone.cancel()
        if let_in:
            gone.cancel()  # its turn has come, and it has not run yet
        await asyncio.gather(gone, behind, return_exceptions=True)
        assert gone.cancelled()
    assert entered == ["behind", "behind"]


async def _in(context: AbstractAsyncContextManager[None], name: str, inside: list[str], leave: asyncio.Event) -> None:
    async with context:
        inside.append(name)
        await leave.wait()
    inside.remove(name)


async def test_nobody_joins_one_that_is_alone() -> None:
    """Neither those who come together nor another one, though nobody waited before them; then each has its turn."""
    gate, inside = Gate(), list[str]()
    leave = [asyncio.Event() for _ in range(4)]
    contexts = [gate.alone(), gate.alone(), gate.together(), gate.together()]
    async with asyncio.TaskGroup() as visits:
        visits.create_task(_in(contexts[0], "first", inside, leave[0]))
        await asyncio.sleep(0)
        visits.create_task(_in(contexts[1], "second", inside, leave[1]))
        for number in (2, 3):
            visits.create_task(_in(contexts[number], str(number), inside, leave[number]))
        for number, expected in enumerate((["first"], ["second"], ["2", "3"], ["3"])):
            for _ in range(5):
                await asyncio.sleep(0)
            assert inside == expected
            leave[number].set()
    assert inside == []


async def test_those_behind_one_that_gives_up_go_in_at_once() -> None:
    """They need not wait until whoever is inside leaves; and afterwards the next one alone waits for them all."""
    gate, inside = Gate(), list[str]()
    first, later = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as visits:
        visits.create_task(_in(gate.together(), "first", inside, first))
        await asyncio.sleep(0)
        gone = visits.create_task(_in(gate.alone(), "gone", inside, later))
        visits.create_task(_in(gate.together(), "behind", inside, later))
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == ["first"]
        gone.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == ["first", "behind"]
        last = asyncio.Event()
        visits.create_task(_in(gate.alone(), "last", inside, last))
        first.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == ["behind"]
        later.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == ["last"]
        last.set()
