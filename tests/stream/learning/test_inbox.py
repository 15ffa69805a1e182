import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from patchline.stream.learning.inbox import LocalInbox, Replies
from patchline.stream.model.feedback import FeedbackOutcome, FeedbackReply, GenerationAnnounced
from patchline.stream.model.result import GenerationRef
from tests.stream.scripted_learning import feedback

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def reply(feedback_id: str, outcome: FeedbackOutcome = FeedbackOutcome.LEARNED) -> FeedbackReply:
    return FeedbackReply(feedback_id=feedback_id, recipe="plate", outcome=outcome, time=NOW)


def test_the_latest_answers_are_kept_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer given again replaces the former, and is young again."""
    monkeypatch.setattr("patchline.stream.learning.inbox.REPLIES_KEPT", 2)
    replies = Replies()
    replies.keep(reply("a"))
    replies.keep(reply("b"))
    replies.keep(reply("a", FeedbackOutcome.UNCHANGED))
    assert replies.get("a") == reply("a", FeedbackOutcome.UNCHANGED)
    assert replies.get("b") == reply("b")
    replies.keep(reply("c"))
    assert replies.get("b") is None
    assert replies.get("a") is not None
    assert replies.get("c") is not None
    assert replies.get("never") is None


def test_answers_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to their topic can make each as large as a record."""
    monkeypatch.setattr("patchline.stream.learning.inbox.REPLIES_KEPT_BYTES", 10_000)
    replies = Replies()
    for number in range(100):
        replies.keep(msgspec.structs.replace(reply(str(number)), detail="x" * 1000))
        replies.keep(msgspec.structs.replace(reply("same"), detail="x" * number))
    assert sum(replies.get(str(number)) is not None for number in range(100)) == 8
    replies.keep(msgspec.structs.replace(reply("large"), detail="x" * 20_000))
    assert replies.get("large") is None
    assert replies.get("same") is None
    replies.keep(reply("again"))
    assert replies.get("again") == reply("again")


async def test_feedback_waits_where_too_much_of_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may bring an image; whoever hands one more in waits for room."""
    monkeypatch.setattr("patchline.stream.learning.inbox.WAITING_AT_MOST", 2)
    inbox = LocalInbox()
    await inbox.submit(feedback("1"))
    await inbox.submit(feedback("2"))
    third = asyncio.ensure_future(inbox.submit(feedback("3")))
    await asyncio.sleep(0.01)
    assert not third.done()
    given = inbox.feedback()
    assert (await anext(given)).feedback_id == "1"
    await asyncio.wait_for(third, 10)


async def test_feedback_of_this_process_is_answered_in_order() -> None:
    """What is submitted comes out first in, first out; its answer is found by its id once it is answered."""
    inbox = LocalInbox()
    await inbox.open()
    first, second = feedback("1"), feedback("2")
    await inbox.submit(first)
    await inbox.submit(second)
    given = inbox.feedback()
    assert [await anext(given), await anext(given)] == [first, second]
    assert inbox.reply("1") is None
    await inbox.answer(first, reply("1"))
    assert inbox.reply("1") == reply("1")
    waiting = asyncio.ensure_future(anext(given))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.submit(feedback("3"))
    assert (await asyncio.wait_for(waiting, 10)).feedback_id == "3"
    await inbox.close()


async def test_nobody_announces_generations_to_a_process_alone() -> None:
    """Announcing does nothing, and there is never one to follow."""
    inbox = LocalInbox()
    generation = GenerationRef(number=2, sha256="a" * 64)
    await inbox.announce(GenerationAnnounced(recipe="plate", generation=generation, rows=1, threshold=1.0, time=NOW))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(aiter(inbox.announced())), 0.05)
