import asyncio

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
