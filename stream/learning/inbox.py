"""Where feedback comes from and where its answers go: the port of learning, and the one without Kafka."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from patchline.stream.model.checks import MIB
from patchline.stream.model.feedback import Feedback, FeedbackReply, GenerationAnnounced

REPLIES_KEPT = 10_000
REPLIES_KEPT_BYTES = 32 * MIB
"""Answers that are kept to be looked up, and their size as JSON; others write to their topic too."""
WAITING_AT_MOST = 16
"""Feedback that waits for its answer in a process without Kafka; each may bring an image."""


class FeedbackInbox(Protocol):
    """Feedback to answer, answers to look up, generations to announce and to follow.

    Everything may be called again after an error, and waits while something is away.
    """

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let everything go."""

    def feedback(self) -> AsyncIterator[Feedback]:
        """Feedback for this worker to answer, in order, each recipe's in one worker at a time."""

    async def answer(self, feedback: Feedback, reply: FeedbackReply) -> None:
        """Publish the answer; only then is the feedback done, and not given again."""

    async def submit(self, feedback: Feedback) -> None:
        """Hand feedback to the worker that owns its recipe."""

    def reply(self, feedback_id: str) -> FeedbackReply | None:
        """The answer to feedback, from whichever worker gave it; None where there is none yet."""

    async def announce(self, announced: GenerationAnnounced) -> None:
        """Tell every worker of a generation that is in the store."""

    def announced(self) -> AsyncIterator[GenerationAnnounced]:
        """Generations as they are announced, first those that were before."""


class Replies:
    """The latest answers by feedback id."""

    def __init__(self) -> None:
        self._replies: dict[str, tuple[FeedbackReply, int]] = {}
        self._bytes = 0

    def keep(self, reply: FeedbackReply) -> None:
        """Keep an answer; the oldest beyond 10,000, or 32 MiB, go."""
        size = len(msgspec.json.encode(reply))
        self._forget(reply.feedback_id)
        self._replies[reply.feedback_id] = reply, size
        self._bytes += size
        while len(self._replies) > REPLIES_KEPT or self._bytes > REPLIES_KEPT_BYTES:
            self._forget(next(iter(self._replies)))

    def get(self, feedback_id: str) -> FeedbackReply | None:
        """The latest answer to feedback."""
        kept = self._replies.get(feedback_id)
        return kept[0] if kept is not None else None

    def _forget(self, feedback_id: str) -> None:
        _, size = self._replies.pop(feedback_id, (None, 0))
        self._bytes -= size


class LocalInbox:
    """A `FeedbackInbox` within one process, for a service without Kafka: what it has not answered is lost with it."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Feedback] = asyncio.Queue(WAITING_AT_MOST)
        self._replies = Replies()

    async def open(self) -> None:
        """See `FeedbackInbox`."""

    async def close(self) -> None:
        """See `FeedbackInbox`."""

    async def feedback(self) -> AsyncIterator[Feedback]:
        """See `FeedbackInbox`."""
        while True:
            yield await self._waiting.get()

    async def answer(self, feedback: Feedback, reply: FeedbackReply) -> None:  # noqa: ARG002 - one queue, one reader
        """See `FeedbackInbox`."""
        self._replies.keep(reply)

    async def submit(self, feedback: Feedback) -> None:
        """See `FeedbackInbox`. It waits while there is too much of it."""
        await self._waiting.put(feedback)

    def reply(self, feedback_id: str) -> FeedbackReply | None:
        """See `FeedbackInbox`."""
        return self._replies.get(feedback_id)

    async def announce(self, announced: GenerationAnnounced) -> None:
        """See `FeedbackInbox`. Nobody else follows."""

    async def announced(self) -> AsyncIterator[GenerationAnnounced]:
        """See `FeedbackInbox`. There is never one."""
        await asyncio.Event().wait()
        yield  # type: ignore[misc] # never reached: it makes this a generator
