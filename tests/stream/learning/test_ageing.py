"""Several workers note what they use, and once a day one of them lets the rest go."""

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

from patchline.engine.bank.events import Aged
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.learning.learner import Learner
from patchline.engine.types import Embedded, Image, Rows
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.ageing import AgeingRecipe, RowAgeing
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
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
