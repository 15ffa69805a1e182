"""The demo learns as the service does: what someone confirms goes through its loop into stores on disk."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from patchline.engine.bank.store import GenerationStore
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.learner import Learner
from patchline.ops.demo.board import Board, Shown
from patchline.ops.demo.tally import Outcome
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.evidence.store import encode_png
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.inbox import FeedbackInbox, LocalInbox
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.feedback import Feedback, FeedbackVerdict
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer

REACTION_S = 0.8
"""How long the simulated operator looks at a reject before the tap."""
PERSON, SIMULATED = "the person at the page", "the simulated operator"


def learning_loop(
    inbox: LocalInbox, folder: Path, engine: Inspector, limits: Limits, observer: Observer
) -> LearningLoop:
    """The service's loop of learning over the demo's banks; it reads their stores.

    Args:
        inbox: where taps arrive.
        folder: holds the banks, each in a folder of its recipe's name.
        engine: what judges with them.
        limits: the stream's.
        observer: is told what was learned.
    """
    stores = {name: store_in(folder, name) for name in engine.recipes}
    decoder = Decoder(engine.prepare, engine.recipes, replace(limits, decode_threads=1))
    return LearningLoop(
        inbox=inbox,
        recipes={
            name: RecipeLearning(name, Learner.open(store), engine, None, decoder) for name, store in stores.items()
        },
        engine=engine,
        stores=stores,
        active={name: bank.generation for name, bank in engine.recipes.items()},
        observer=observer,
    )


async def tap(inbox: FeedbackInbox, shown: Shown, operator: str) -> str:
    """Tap: confirm that a rejected frame shows a good part.

    Args:
        inbox: where the confirmation goes.
        shown: the frame on the board.
        operator: who taps.

    Returns:
        The feedback's id.
    """
    frame = shown.frame
    image = frame.payload
    if image is None and frame.image is not None:
        image = await asyncio.to_thread(encode_png, frame.image)
    feedback = Feedback(
        feedback_id=str(uuid4()),
        recipe=frame.recipe,
        frame_id=frame.frame_id,
        verdict=FeedbackVerdict.CONFIRM_GOOD,
        operator=operator,
        time=datetime.now(UTC),
        image=image,
    )
    await inbox.submit(feedback)
    return feedback.feedback_id


class SimulatedOperator:
    """Knows the truth and taps false rejects, one at a time; a `SideTask` of the pipeline.

    Always the newest of those that the newest generation still rejects: what an earlier tap has cured needs none.
    """

    def __init__(self, inbox: FeedbackInbox, board: Board) -> None:
        self._inbox, self._board = inbox, board

    async def run(self, thread: EngineThread) -> None:  # noqa: ARG002 - a person needs no engine
        """Watch the board and tap until cancelled."""
        seen = -1
        while True:
            seen = await self._board.news(seen)
            wrong = self._newest()
            if wrong is None:
                continue
            await asyncio.sleep(REACTION_S)
            asked = await tap(self._inbox, wrong, SIMULATED)
            while self._inbox.reply(asked) is None:
                seen = await self._board.news(seen)

    def _newest(self) -> Shown | None:
        for shown in self._board.gallery:
            judged_by, learned = shown.result.generation, self._board.tally.learned.get(shown.frame.recipe)
            newest = 1 if learned is None else learned.generation
            if (
                shown.outcome is Outcome.FALSE_REJECT
                and shown.frame.frame_id not in self._board.said
                and judged_by is not None
                and judged_by.number == newest
            ):
                return shown
        return None


def store_in(folder: Path, recipe: str) -> GenerationStore:
    """Where a recipe's generations lie."""
    return GenerationStore(folder / recipe)
