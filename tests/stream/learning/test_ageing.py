"""Several workers note what they use, and once a day one of them lets the rest go."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from patchline.engine.bank.events import Aged
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.errors import EngineError, GenerationConflictError
from patchline.engine.learning.learner import Learner
from patchline.engine.types import Embedded, Image, Rows
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.ageing import AgeingRecipe, RowAgeing
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer, StoredKind
from tests.engine.learning_worlds import new_store
from tests.stream.scripted import ScriptedEngine


class UsedEngine(ScriptedEngine):
    """An engine that says what was used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, set[int]] = {}

    def take_used(self, recipe: str) -> dict[str, set[int]]:
        used, self.used = self.used, {}
        return used

    def begin_embed(self, recipe: str, prepared: Image) -> Future[Rows]:
        raise AssertionError

    def begin_embed_to_learn(self, recipe: str, prepared: Image) -> Future[Embedded]:
        raise AssertionError

    def swaps_beside(self, recipe: str) -> bool:
        return False

    def swap_steps(self, recipe: str, bank: MemoryBank) -> Iterator[None]:
        yield


async def test_of_two_workers_one_lets_unused_rows_age(tmp_path: Path) -> None:
    """Two days of use by two workers; on the third, what neither used leaves in one generation, an hour into it."""
    store = new_store(tmp_path / "part")
    rows = [store.bank().provenance(row) for row in range(24)]
    clock = datetime(2026, 3, 1, 12, tzinfo=UTC)
    taken: list[tuple[str, MemoryBank, str, str]] = []

    async def take(recipe: str, bank: MemoryBank, feedback_id: str, operator: str) -> None:
        taken.append((recipe, bank, feedback_id, operator))

    engines = [UsedEngine(), UsedEngine()]
    thread = EngineThread(engines[0])
    workers = []
    for engine in engines:
        decoder = Decoder(engine.prepare, ["part"], Limits())
        learning = RecipeLearning("part", Learner.open(store), engine, None, decoder)
        recipe = AgeingRecipe(learning, UsageLog(store.where), 2)
        workers.append((RowAgeing({"part": recipe}, engine, Observer(), lambda: clock), recipe, engine))
    for _ in range(2):
        for number, (ageing, recipe, engine) in enumerate(workers):
            for frame, patch in rows[number::4]:
                engine.used.setdefault(frame, set()).add(patch)
            await ageing.note("part", recipe, thread)
            await ageing.age("part", recipe, thread, take)
        clock += timedelta(days=1)
    clock = clock.replace(hour=0, minute=59)
    for ageing, recipe, _ in workers:
        await ageing.age("part", recipe, thread, take)
    assert taken == []
    clock = clock.replace(hour=1)
    for ageing, recipe, _ in workers:
        await ageing.age("part", recipe, thread, take)
    thread.close()
    assert [(name, bank.generation, asked) for name, bank, asked, _ in taken] == [("part", 2, "ageing-2026-03-03")]
    left = store.bank()
    assert [left.provenance(row) for row in range(len(left.rows))] == [row for i, row in enumerate(rows) if i % 4 < 2]
    event = store.manifest().event
    assert isinstance(event, Aged)
    assert (event.operator, len(event.rows)) == ("ageing policy", 12)


class Usage:
    """A log of use in memory, and what was asked of it."""

    def __init__(self, *days: str) -> None:
        self.days = {day: {"f": {0}} for day in days}
        self.damaged: dict[str, tuple[str, str]] = {}
        self.written: list[tuple[str, str, dict[str, set[int]]]] = []
        self.forgotten: list[str] = []
        self.reads = 0

    def write(self, day: str, worker: str, used: dict[str, set[int]]) -> None:
        self.written.append((day, worker, {frame: set(patches) for frame, patches in used.items()}))

    def read(self) -> dict[str, dict[str, set[int]]]:
        self.reads += 1
        return self.days

    def forget_before(self, day: str) -> None:
        self.forgotten.append(day)


class Aging:
    """A learner that lets rows age; `conflicts` writers are first, and it learns of what they applied when reopened."""

    def __init__(self, rows: list[tuple[str, int]], *, conflicts: int = 0, applied: bool = False) -> None:
        self.rows, self.conflicts, self.applied = rows, conflicts, applied
        self.bank = SimpleNamespace(generation=1)
        self.asked: list[Any] = []
        self.reopened = 0

    def reopen(self) -> "Aging":
        self.reopened += 1
        return self

    def knows(self, feedback_id: str) -> bool:
        assert feedback_id == "ageing-2026-03-09"
        return self.applied

    def unused(self, usage: object, *, days: int, today: str) -> list[tuple[str, int]]:
        assert (days, today) == (2, "2026-03-09")
        return self.rows

    def age(self, request: Any) -> Iterator[None]:
        self.asked.append(request)
        yield

    def commit(self) -> MemoryBank:
        if self.conflicts:
            self.conflicts -= 1
            raise GenerationConflictError("another was first")
        return cast(MemoryBank, "bank")


class Day:
    """One worker's ageing on scripted parts, at one in the morning."""

    def __init__(self, learner: Aging, usage: Usage) -> None:
        self.engine, self.learner, self.usage = UsedEngine(), learner, usage
        self.now = datetime(2026, 3, 9, 1, tzinfo=UTC)
        self.failed: list[str] = []
        self.damaged: list[tuple[str, str, str]] = []
        self.taken: list[tuple[str, object, str, str]] = []
        day = self

        class Told(Observer):
            def retrying(self, what: str, error: BaseException, attempt: int) -> None:
                day.failed.append(f"{what}: {error} ({attempt})")

            def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
                day.damaged.append((what, where, why))

        self.thread = EngineThread(self.engine)
        decoder = Decoder(self.engine.prepare, ["part"], Limits())
        learning = RecipeLearning("part", cast(Learner, learner), self.engine, None, decoder)
        self.recipe = AgeingRecipe(learning, cast(UsageLog, usage), 2)
        self.ageing = RowAgeing({"part": self.recipe}, self.engine, Told(), lambda: self.now)

    async def take(self, recipe: str, bank: MemoryBank, feedback_id: str, operator: str) -> None:
        self.taken.append((recipe, bank, feedback_id, operator))

    async def age(self) -> None:
        await self.ageing.age("part", self.recipe, self.thread, self.take)

    async def note(self, **used: set[int]) -> None:
        self.engine.used = used
        await self.ageing.note("part", self.recipe, self.thread)


async def test_rows_age_once_a_day_and_the_request_says_why() -> None:
    """Whoever asks again on that day finds it decided, without reading anything."""
    day = Day(Aging([("f", 1)]), Usage())
    await day.age()
    await day.age()
    assert day.usage.reads == 1
    (request,) = day.learner.asked
    assert (request.feedback_id, request.operator, request.rows) == ("ageing-2026-03-09", "ageing policy", [("f", 1)])
    assert (request.reason, request.time) == ("unused on 2 days of inspection", "2026-03-09T01:00:00+00:00")
    assert day.taken == [("part", "bank", "ageing-2026-03-09", "ageing policy")]
    day.thread.close()


async def test_where_another_worker_was_first_nothing_more_ages() -> None:
    """After a conflict the learner is opened anew; what another applied, and no rows at all, make no generation."""
    for learner, asked, taken in (
        (Aging([("f", 1)], conflicts=1), 2, 1),
        (Aging([("f", 1)], applied=True), 0, 0),
        (Aging([]), 0, 0),
    ):
        day = Day(learner, Usage())
        conflicts = learner.conflicts
        await day.age()
        assert (len(learner.asked), len(day.taken), learner.reopened) == (asked, taken, conflicts)
        assert day.recipe.decided == "2026-03-09"
        day.thread.close()


@pytest.mark.parametrize(
    ("damaged", "ages"),
    [("2026-03-05", False), ("2026-03-06", False), ("2026-03-09", False), ("2026-03-01", True)],
)
async def test_no_row_leaves_while_a_day_of_use_is_not_known(damaged: str, ages: bool) -> None:
    """Rows that seem unused may have been used on it: the file is said, and ageing waits until the day decides nothing
    any more; use before it is forgotten all the same.
    """
    usage = Usage("2026-03-01", "2026-03-05", "2026-03-06", "2026-03-09")
    usage.damaged = {damaged: ("usage/x.json", "truncated")}
    day = Day(Aging([("f", 1)]), usage)
    await day.age()
    assert day.damaged == [("usage", "usage/x.json", "truncated")]
    assert len(day.taken) == ages
    assert (day.recipe.decided, usage.forgotten) == ("2026-03-09", ["2026-03-05"])
    day.thread.close()


async def test_use_that_decides_nothing_any_more_is_forgotten() -> None:
    """Of the days before today as many are kept as decide, and today's, which is not over."""
    kept = ["2026-03-05", "2026-03-06"]
    for days, forgotten in ((kept, []), ([*kept, "2026-03-09"], []), (["2026-03-01", *kept], ["2026-03-05"])):
        day = Day(Aging([]), Usage(*days))
        await day.age()
        assert day.usage.forgotten == forgotten
        day.thread.close()


async def test_use_is_written_when_there_is_more_of_it_and_begins_anew_each_day() -> None:
    """Under a name of this worker's own; the same patches again write nothing."""
    day = Day(Aging([]), Usage())
    await day.note(f={1})
    await day.note(f={1})
    await day.note(f={1, 2}, g={0})
    await day.note()
    day.now += timedelta(days=1)
    await day.note()
    await day.note(f={3})
    assert [(when, used) for when, _, used in day.usage.written] == [
        ("2026-03-09", {"f": {1}}),
        ("2026-03-09", {"f": {1, 2}, "g": {0}}),
        ("2026-03-10", {"f": {3}}),
    ]
    (worker,) = {worker for _, worker, _ in day.usage.written}
    assert len(worker) == 12
    day.thread.close()


async def test_each_minute_use_is_noted_and_what_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used until now is noted before it is decided; an error of one round is told, and the next comes."""
    pauses: list[float] = []
    day = Day(Aging([]), Usage())
    order: list[str] = []

    async def note(*_: object) -> None:
        order.append("note")
        if len(order) == 1:
            raise EngineError("away")

    async def age(*_: object) -> None:
        order.append("age")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(day.ageing, "note", note)
    monkeypatch.setattr(day.ageing, "age", age)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await day.ageing.run(day.thread, day.take)
    assert order == ["note", "note", "age", "note", "age"]
    assert pauses == [60.0] * 3
    assert day.failed == ["ageing of part: away (1)"]
    await RowAgeing({}, day.engine, Observer()).run(day.thread, day.take)  # nothing to watch: it returns
    day.thread.close()
