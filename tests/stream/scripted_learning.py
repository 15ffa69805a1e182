"""Learning whose generations only count: a learner, a store, an inbox, and what happened, in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import GenerationConflictError
from patchline.engine.learning.reference_frames import Kind
from patchline.engine.learning.requests import Confirmation
from patchline.engine.numerics.core_pool import finished
from patchline.engine.types import Embedded, Image, Rows
from patchline.stream.learning.inbox import LocalInbox
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.model.feedback import Feedback, FeedbackReply, FeedbackVerdict, GenerationAnnounced
from patchline.stream.model.observer import Observer, StoredKind
from tests.stream.scripted import ScriptedEngine, jpeg

PREVIEW = SimpleNamespace(
    rows_added=3,
    rows_removed=0,
    threshold_before=9.0,
    threshold_after=9.5,
    cleared=("a",),
    rejects=2,
    hidden=(),
    defect_ratios={"scratch": 1.25},
    defects=1,
)


@dataclass(frozen=True)
class Bank:
    generation: int = 1
    threshold: float = 9.0
    rows: tuple[int, ...] = (0,)

    @property
    def sha256(self) -> str:
        return f"{self.generation:064d}"


@dataclass
class World:
    """A store that several scripted learners share, and what happened, in order."""

    bank: Bank = field(default_factory=Bank)
    applied: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    hold: str | None = None
    passed: list[float] = field(default_factory=list)


class ScriptedLearner:
    """A learner whose generations only count; `fail` says what its next confirmation raises."""

    def __init__(self, world: World) -> None:
        self.world, self.bank = world, world.bank
        self.proposal: Any = None
        self.fail: Exception | None = None
        self.damaged: list[tuple[Kind, str, str]] = []

    def reopen(self) -> "ScriptedLearner":
        return ScriptedLearner(self.world)

    def knows(self, feedback_id: str) -> bool:
        return feedback_id in self.world.applied

    def warm_up(self) -> Iterator[None]:
        yield

    def passed_over(self) -> list[tuple[Kind, str, str]]:
        told, self.damaged = self.damaged, []
        return told

    def note_pass(self, score: float) -> None:
        self.world.passed.append(score)

    def confirm_good(self, request: Confirmation) -> Iterator[None]:
        yield
        if self.fail is not None:
            raise self.fail
        self.world.log.append(f"learn {request.frame}")
        bank = replace(self.bank, generation=self.bank.generation + 1)
        self.proposal = SimpleNamespace(bank=bank, preview=PREVIEW, hold=self.world.hold)
        self.request = request
        yield

    def commit(self) -> Bank:
        if self.world.bank.generation != self.bank.generation:
            raise GenerationConflictError("another writer was first")
        self.world.log.append("store")
        self.world.applied.append(self.request.feedback_id)
        self.world.bank = self.bank = self.proposal.bank
        return self.bank


@dataclass
class ScriptedStore:
    world: World

    def newest(self) -> int:
        return self.world.bank.generation

    def bank(self, generation: int) -> Bank:
        return replace(self.world.bank, generation=generation)


class LearningScriptedEngine(ScriptedEngine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def begin_embed(self, recipe: str, prepared: Image) -> Future[Rows]:
        return finished(lambda: np.zeros((4, 2), np.int16))

    def begin_embed_to_learn(self, recipe: str, prepared: Image) -> Future[Embedded]:
        return finished(lambda: Embedded(np.zeros((4, 2), np.int16), np.zeros(4, np.int64), 9.5))

    def swaps_beside(self, recipe: str) -> bool:
        return True

    def swap_steps(self, recipe: str, bank: MemoryBank) -> Iterator[None]:
        yield
        self.world.log.append(f"swap {bank.generation}")


class Inbox(LocalInbox):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.others: asyncio.Queue[GenerationAnnounced] = asyncio.Queue()

    async def announce(self, announced: GenerationAnnounced) -> None:
        self.world.log.append(f"announce {announced.generation.number}")

    async def announced(self) -> AsyncIterator[GenerationAnnounced]:
        while True:
            yield await self.others.get()


class Answers(Observer):
    def __init__(self) -> None:
        self.replies: asyncio.Queue[FeedbackReply] = asyncio.Queue()
        self.taken: asyncio.Queue[int] = asyncio.Queue()
        self.retries: asyncio.Queue[str] = asyncio.Queue()
        self.refused: asyncio.Queue[str] = asyncio.Queue()
        self.damaged: list[tuple[str, str, str]] = []

    def feedback(self, reply: FeedbackReply) -> None:
        self.replies.put_nowait(reply)

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        self.taken.put_nowait(bank.generation)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.retries.put_nowait(str(error))

    def generation_refused(self, recipe: str, number: int, error: Exception) -> None:
        self.refused.put_nowait(f"{recipe} {number}: {error}")

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
        self.damaged.append((what, where, why))


@dataclass
class Running:
    world: World
    learner: ScriptedLearner
    inbox: Inbox
    answers: Answers
    loop: LearningLoop

    async def ask(self, feedback_id: str, **more: Any) -> FeedbackReply:
        await self.inbox.submit(feedback(feedback_id, **more))
        return await asyncio.wait_for(self.answers.replies.get(), 60)


def feedback(feedback_id: str, **more: Any) -> Feedback:
    fields: dict[str, Any] = {
        "verdict": FeedbackVerdict.CONFIRM_GOOD,
        "recipe": "plate",
        "frame_id": "f",
        "image": jpeg(200),
        "operator": "ada",
        "time": datetime.now(UTC),
    }
    return Feedback(feedback_id=feedback_id, **{**fields, **more})
