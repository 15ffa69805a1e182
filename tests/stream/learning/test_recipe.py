"""One recipe's learner: what it is given, where frames and scores come from, and when it is opened anew."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from patchline.engine.learning.learner import Learner
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.errors import FeedbackError
from patchline.stream.model.feedback import Feedback, FeedbackVerdict
from patchline.stream.model.limits import Limits
from tests.stream.evidence_help import evidence
from tests.stream.scripted import jpeg
from tests.stream.scripted_learning import LearningScriptedEngine, World, feedback


class Notes:
    """A learner that only writes down what it is told; one that is opened anew has the next generation."""

    def __init__(self, log: list[tuple[Any, ...]], generation: int = 1) -> None:
        self.log, self.bank = log, SimpleNamespace(generation=generation)
        self.proposal: object = None

    def reopen(self) -> "Notes":
        self.log.append(("reopen",))
        return Notes(self.log, self.bank.generation + 1)

    def _steps(self, what: str, request: Any) -> Iterator[None]:
        yield
        self.log.append((what, request))
        self.proposal = what

    def confirm_good(self, request: Any) -> Iterator[None]:
        return self._steps("good", request)

    def confirm_defect(self, request: Any) -> Iterator[None]:
        return self._steps("defect", request)

    def unlearn(self, request: Any) -> Iterator[None]:
        return self._steps("unlearn", request)

    def warm_up(self) -> Iterator[None]:
        self.log.append(("warm",))
        yield

    def note_pass(self, score: float) -> None:
        self.log.append(("pass", score))

    def note_reject(self, frame_id: str, patches: Any) -> None:
        self.log.append(("reject", frame_id, patches.shape))


class Kept:
    """An evidence store in memory; images by frame id, None where one has expired."""

    url = "kept"

    def __init__(self, **images: bytes | None) -> None:
        self.images = images
        self.asked: list[tuple[str, int]] = []

    def recent_rejects(self, recipe: str, count: int) -> list[Evidence]:
        self.asked.append((recipe, count))
        return [evidence(name, image or b"") for name, image in self.images.items()]

    def find(self, frame_id: str, recipes: Collection[str]) -> Evidence | None:
        assert list(recipes) == ["plate"]
        return evidence(frame_id, self.images[frame_id] or b"") if frame_id in self.images else None

    def image(self, found: Evidence) -> bytes | None:
        return self.images[found.result.frame_id]


class Line:
    """A recipe's learning on scripted parts."""

    def __init__(self, kept: Kept | None = None, *, stream_scores: bool = False) -> None:
        self.log: list[tuple[Any, ...]] = []
        engine = LearningScriptedEngine(World())
        self.decoder = Decoder(engine.prepare, ["plate"], Limits())
        self.thread = EngineThread(engine)
        self.learning = RecipeLearning(
            "plate",
            cast(Learner, Notes(self.log)),
            engine,
            cast(EvidenceStore, kept) if kept is not None else None,
            self.decoder,
            stream_scores=stream_scores,
        )

    async def propose(self, given: Feedback, at_least: int = 0) -> Any:
        self.log.clear()
        await self.learning.propose(given, self.thread, at_least)
        return self.log[-1][1]


@pytest.fixture
async def lines() -> AsyncIterator[list[Line]]:
    """The lines that a test makes; their threads end with it."""
    made: list[Line] = []
    yield made
    for line in made:
        line.thread.close()
        line.decoder.close()


def line_of(lines: list[Line], kept: Kept | None = None, *, stream_scores: bool = False) -> Line:
    lines.append(Line(kept, stream_scores=stream_scores))
    return lines[-1]


async def test_the_learner_is_opened_anew_when_others_went_ahead(lines: list[Line]) -> None:
    """Where it lacks the generation that is asked for, and once after it was forgotten; not otherwise."""
    line = line_of(lines)
    assert (await line.learning.learner()).bank.generation == 1
    assert (await line.learning.learner(1)).bank.generation == 1
    assert (await line.learning.learner(2)).bank.generation == 2
    assert (await line.learning.learner(2)).bank.generation == 2
    line.learning.forget()
    assert [(await line.learning.learner()).bank.generation for _ in range(2)] == [3, 3]
    assert line.log == [("reopen",)] * 2
    await line.propose(feedback("1"))
    assert line.log[0][0] == "good", "no generation in particular is asked for"
    await line.propose(feedback("1"), 4)
    assert line.log[0] == ("reopen",)


async def test_scores_of_passes_are_kept_where_the_threshold_follows_them(lines: list[Line]) -> None:
    """The last thousand, in their order, and each once; by default none are."""
    line = line_of(lines, stream_scores=True)
    for number in range(1001):
        line.learning.note_pass(float(number))
    learner = await line.learning.learner()
    line.learning.tell_passes(learner)
    line.learning.tell_passes(learner)
    assert line.log == [("pass", float(number)) for number in range(1, 1001)]
    plain = line_of(lines)
    plain.learning.note_pass(1.0)
    plain.learning.tell_passes(await plain.learning.learner())
    assert plain.log == []
    by_default = RecipeLearning("p", cast(Learner, Notes([])), LearningScriptedEngine(World()), None, plain.decoder)
    assert by_default._passed is None


async def test_warming_up_measures_with_the_newest_learner(lines: list[Line]) -> None:
    """Whoever proposes meanwhile waits."""
    line = line_of(lines)
    line.learning.forget()
    await line.learning.warm_up(line.thread)
    assert line.log == [("reopen",), ("warm",)]
    assert not line.learning.lock.locked()


@pytest.mark.parametrize(
    ("verdict", "what"), [(FeedbackVerdict.CONFIRM_GOOD, "good"), (FeedbackVerdict.CONFIRM_DEFECT, "defect")]
)
async def test_a_confirmation_has_patches_and_the_score_as_first_seen(
    lines: list[Line], verdict: FeedbackVerdict, what: str
) -> None:
    """The kept score where the frame is kept, else the one found now; who, why and when go with it."""
    line = line_of(lines, Kept(f=jpeg(200)))
    for given, score in (
        (feedback("1", verdict=verdict, image=None), 120.0),
        (feedback("1", verdict=verdict), 120.0),
        (feedback("1", verdict=verdict, frame_id="g", reason="glare"), 9.5),
    ):
        request = await line.propose(given)
        assert line.log[-1][0] == what
        assert (request.feedback_id, request.frame, request.score) == ("1", given.frame_id, score)
        assert request.patches.shape == (4, 2)
        assert np.array_equal(request.nearest, np.zeros(4))
        assert (request.operator, request.reason, request.time) == ("ada", given.reason, given.time.isoformat())


async def test_unlearning_asks_for_no_image(lines: list[Line]) -> None:
    """The frame may be gone for long."""
    line = line_of(lines)
    request = await line.propose(feedback("1", verdict=FeedbackVerdict.UNLEARN, image=None))
    assert line.log[-1][0] == "unlearn"
    assert (request.feedback_id, request.frame, request.operator) == ("1", "f", "ada")


async def test_an_approved_frame_may_wait_in_quarantine(lines: list[Line]) -> None:
    """Without an image there are no patches, and no score; whoever approved goes with it."""
    for kept in (None, Kept()):
        request = await line_of(lines, kept).propose(feedback("1", image=None, approved_by="ben"))
        assert (request.patches, request.nearest, request.score, request.approved_by) == (None, None, 0.0, "ben")


async def test_who_is_known_to_ask_goes_with_it_and_else_anybody(lines: list[Line]) -> None:
    """Also with what is taken back."""
    line = line_of(lines)
    for verdict in (FeedbackVerdict.CONFIRM_GOOD, FeedbackVerdict.UNLEARN):
        assert (await line.propose(feedback("1", verdict=verdict, identity="tablet-1"))).identity == "tablet-1"
        assert (await line.propose(feedback("1", verdict=verdict))).identity == "*"


async def test_another_image_under_the_same_id_is_refused(lines: list[Line]) -> None:
    """The image that came with the feedback, or that is kept; with the hash of what was seen it is learned."""
    seen, other = (hashlib.sha256(jpeg(grey)).hexdigest() for grey in (200, 90))
    line = line_of(lines, Kept(f=jpeg(200)))
    await line.propose(feedback("1", image=None, image_sha256=seen.upper()))
    await line.propose(feedback("1", image=jpeg(200), image_sha256=seen))
    with pytest.raises(FeedbackError, match=f"the image that is kept has SHA-256 {seen}, the feedback is on {other}"):
        await line.propose(feedback("1", image=None, image_sha256=other))
    with pytest.raises(FeedbackError, match=f"the image that came with it has SHA-256 {seen}"):
        await line.propose(feedback("1", image=jpeg(200), image_sha256=other))
    with pytest.raises(FeedbackError, match="not in kept"):  # nothing tells which image waits in quarantine
        await line_of(lines, Kept()).propose(feedback("1", image=None, approved_by="ben", image_sha256=seen))


async def test_a_frame_that_is_not_to_be_had_says_where_it_was_looked_for(lines: list[Line]) -> None:
    """No store, not in the store, no longer whole, or no image."""
    with pytest.raises(FeedbackError, match="there is no evidence store; expected"):
        await line_of(lines).propose(feedback("1", image=None))
    with pytest.raises(FeedbackError, match="not in kept; expected"):
        await line_of(lines, Kept()).propose(feedback("1", image=None))
    with pytest.raises(FeedbackError, match="no longer in kept"):
        await line_of(lines, Kept(f=None)).propose(feedback("1", image=None))
    with pytest.raises(FeedbackError, match="frame 'f': "):
        await line_of(lines, Kept(f=b"no image")).propose(feedback("1", image=None))


async def test_the_newest_rejects_are_noted_once(lines: list[Line]) -> None:
    """Those whose image has expired are left out; twenty are asked for, and twenty remembered."""
    kept = Kept(a=jpeg(200), gone=None, b=jpeg(201))
    line = line_of(lines, kept)
    await line.learning.note_rejects(line.thread)
    await line.learning.note_rejects(line.thread)
    assert line.log == [("reject", "a", (4, 2)), ("reject", "b", (4, 2))]
    assert kept.asked == [("plate", 20)] * 2
    line.log.clear()
    kept.images = {str(n): jpeg(200) for n in range(18)}
    await line.learning.note_rejects(line.thread)
    kept.images = {"a": jpeg(200)}
    await line.learning.note_rejects(line.thread)
    assert len(line.log) == 18, "twenty are remembered, the first of them too"
    kept.images = {"x": jpeg(200)}
    await line.learning.note_rejects(line.thread)
    kept.images = {"b": jpeg(200), "a": jpeg(200)}
    await line.learning.note_rejects(line.thread)
    assert [name for _, name, _ in line.log[18:]] == ["x", "a"], "the oldest was forgotten"
    without = line_of(lines)
    await without.learning.note_rejects(without.thread)
    assert without.log == []


async def test_rejects_wait_for_whoever_holds_the_learner(lines: list[Line]) -> None:
    """It is not told while a proposal is made."""
    line = line_of(lines, Kept(a=jpeg(200)))
    async with line.learning.lock:
        noting = asyncio.create_task(line.learning.note_rejects(line.thread))
        await asyncio.sleep(0.05)
        assert line.log == []
    await noting
    assert len(line.log) == 1
