"""Rows that nothing uses any more leave the bank: each worker notes what it uses, and once a day one of them decides.

Whichever worker writes the day's generation first has decided; the others find it applied, as with feedback.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.errors import EngineError, GenerationConflictError
from patchline.engine.learning.requests import Ageing
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.observer import Observer

NOTE_EVERY_S = 60.0
CLOSED = timedelta(hours=1)
"""A day is over so long after midnight, UTC: by then every worker has written what it used."""
OPERATOR = "ageing policy"
Taken: TypeAlias = Callable[[str, MemoryBank, str, str], Awaitable[None]]
"""Told of a stored generation: recipe, bank, feedback id, operator."""


class UsageEngine(Protocol):
    """What is asked of the engine, on its thread."""

    def take_used(self, recipe: str) -> dict[str, set[int]]:
        """The rows that were a patch's nearest since the last call, as the patches of each frame."""


@dataclass(slots=True)
class AgeingRecipe:
    """A recipe whose unused rows age: its learning, where the use of its rows is kept, and for how many days."""

    learning: RecipeLearning
    usage: UsageLog
    days: int
    used: dict[str, set[int]] = field(default_factory=dict)
    """What this worker has used on `day`."""
    day: str = ""
    decided: str = ""
    """The last day on which this worker has looked."""


class RowAgeing:
    """Notes use and lets rows age, for the recipes that say so.

    Args:
        recipes: by name.
        engine: whose use is noted.
        observer: told of what fails; it is tried again a minute later.
        now: the time, in UTC.
    """

    def __init__(
        self,
        recipes: Mapping[str, AgeingRecipe],
        engine: UsageEngine,
        observer: Observer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._recipes = recipes
        self._engine = engine
        self._observer = observer
        self._now = now
        self._worker = uuid.uuid4().hex[:12]

    async def run(self, thread: EngineThread, taken: Taken) -> None:
        """Note and decide until cancelled."""
        while self._recipes:
            for name, recipe in self._recipes.items():
                try:
                    await self.note(name, recipe, thread)
                    await self.age(name, recipe, thread, taken)
                except EngineError as error:
                    self._observer.retrying(f"ageing of {name}", error, 1)
            await asyncio.sleep(NOTE_EVERY_S)

    async def note(self, name: str, recipe: AgeingRecipe, thread: EngineThread) -> None:
        """Write which rows are in use today, where there are more than before."""
        today = self._now().date().isoformat()
        if recipe.day != today:
            recipe.day, recipe.used = today, {}
        found: dict[str, set[int]] = {}

        def take() -> Iterator[None]:
            found.update(self._engine.take_used(name))
            yield

        await thread.between_batches(take(), alone=True)
        before = sum(map(len, recipe.used.values()))
        for frame, patches in found.items():
            recipe.used.setdefault(frame, set()).update(patches)
        if sum(map(len, recipe.used.values())) > before:
            await asyncio.to_thread(recipe.usage.write, today, self._worker, recipe.used)

    async def age(self, name: str, recipe: AgeingRecipe, thread: EngineThread, taken: Taken) -> None:
        """Once a day, let the rows go that were not used; of several workers one does."""
        now = self._now()
        today = (now - CLOSED).date().isoformat()
        if recipe.decided == today:
            return
        usage = await asyncio.to_thread(recipe.usage.read)
        over = [day for day in usage if day < today]
        damaged = recipe.usage.damaged
        for where, why in damaged.values():
            self._observer.damaged_file("usage", where, why)
        # Rows that seem unused on these days may have been used: none leaves until the window has passed them.
        unknown = bool(over) and any(day >= over[-recipe.days :][0] for day in damaged)
        learning, asked = recipe.learning, f"ageing-{today}"
        async with learning.lock:
            while True:
                learner = await learning.learner()
                if unknown or learner.knows(asked):
                    break
                rows = await asyncio.to_thread(learner.unused, usage, days=recipe.days, today=today)
                if not rows:
                    break
                request = Ageing(
                    feedback_id=asked,
                    operator=OPERATOR,
                    reason=f"unused on {recipe.days} days of inspection",
                    time=now.isoformat(timespec="seconds"),
                    rows=rows,
                )
                await thread.between_batches(learner.age(request))
                try:
                    bank = await learning.commit()
                except GenerationConflictError:
                    learning.forget()
                    continue
                await taken(name, bank, asked, OPERATOR)
                break
        recipe.decided = today
        if len(over) > recipe.days:
            await asyncio.to_thread(recipe.usage.forget_before, over[-recipe.days])
