"""Whether each task of a worker still does its work: a probe for each, from outside."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import FeedbackOutcome
from patchline.stream.wire.feedback import read_reply
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Worker
from tests.chaos.figure import Measured
from tests.chaos.kinds.target import Target
from tests.chaos.loop_meter import LONG_STEP, TOLD_FROM_S
from tests.chaos.scrape import status
from tests.chaos.tally import Tally
from tests.stream.kafka_help import read_topic
from tests.stream.scripted import jpeg

_WITHIN_S = 60
_NUMBERS = count()


class Probes:
    """Asks each task for something, and waits for it.

    Args:
        target: the line.
        worker: the one worker.
        tally: sees the results.
    """

    def __init__(self, target: Target, worker: Worker, tally: Tally) -> None:
        self._target, self._worker, self._tally = target, worker, tally
        self.dead: list[str] = []
        """What did not answer, and when."""

    async def ask(self, when: str) -> None:
        """Whether alarms follow results, acknowledgements are taken and removed, and HTTP answers."""
        camera = f"probe-{next(_NUMBERS)}"
        for number in range(3):
            headers = frame_headers(frame_id=f"{camera}/{number}", camera=camera, time=datetime.now(UTC), recipe=RECIPE)
            await self._target.producer.send_and_wait(
                self._target.config.frames_topic, jpeg(200), key=camera.encode(), headers=headers, partition=0
            )
        await self._expect(f"frames of partition 0 {when}", lambda: self._judged(f"{camera}/2"))
        await self._expect(f"alarms {when}", lambda: self._in_state(camera, "unacknowledged"))
        with suppress(Exception):  # a key of another type is where the acknowledgements are: then they do not answer
            key = f"{self._target.prefix}alarms:ack"
            await self._target.redis.xadd(key, {"camera": camera, "operator": "ada"})
        await self._expect(f"acknowledgements {when}", lambda: self._in_state(camera, "acknowledged"))
        await self._expect(f"removing acknowledgements {when}", self._none_left)
        for path in ("/healthz", "/readyz", "/metrics"):
            code, text = await status(self._worker, path)
            if code != 200:
                self.dead.append(f"{path} {when} ({code} {text[:80]!r})")

    async def ask_to_learn(self) -> None:
        """Whether feedback that is whole is learned after all that came."""
        name = f"last-{next(_NUMBERS)}"
        feedback = {
            "feedback_id": name,
            "recipe": RECIPE,
            "frame_id": name,
            "verdict": "confirm_good",
            "operator": "ada",
            "time": datetime.now(UTC).isoformat(),
            "image": base64.b64encode(jpeg(90)).decode(),
        }
        headers = [("ce_specversion", b"1.0"), ("ce_type", b"io.patchline.feedback.v1"), ("ce_id", name.encode())]
        config = self._target.config
        await self._target.producer.send_and_wait(
            config.feedback_topic, json.dumps(feedback).encode(), key=RECIPE.encode(), headers=headers, partition=0
        )

        async def learned() -> bool:
            for record in await read_topic(config, config.feedback_replies_topic):
                with suppress(RecordError):
                    reply = read_reply(record.headers, record.value)
                    if reply.feedback_id == name:
                        return reply.outcome is FeedbackOutcome.LEARNED
            return False

        await self._expect("learning", learned)

    def measured(self) -> Measured:
        """What did not answer."""
        return Measured(
            name="tasks that did not answer",
            measured=", ".join(self.dead) or "none",
            goal="none",
            met=not self.dead,
        )

    async def _expect(self, what: str, holds: Callable[[], Awaitable[Any]]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                while self._worker.running:
                    if await holds():
                        return
                    await asyncio.sleep(0.2)
        self.dead.append(what)

    async def _judged(self, frame_id: str) -> bool:
        return frame_id in self._tally.first_s

    async def _in_state(self, camera: str, state: str) -> bool:
        with suppress(Exception):  # whatever Redis says of the key now
            return bool(
                await self._target.redis.hget(f"{self._target.prefix}alarm:{camera}", "state") == state.encode()
            )
        return False

    async def _none_left(self) -> bool:
        with suppress(Exception):
            return bool(await self._target.redis.xlen(f"{self._target.prefix}alarms:ack") == 0)
        return False


def undisturbed(worker: Worker) -> Measured:
    """Whether the one worker that was started ended in order, and no task of it died unheard."""
    unheard = [line[:200] for line in worker.printed.splitlines() if "never retrieved" in line or "Traceback" in line]
    return Measured(
        name="the worker's end, and errors that nobody took",
        measured=f"{worker.process.returncode}, {len(unheard)} errors{': ' + unheard[0] if unheard else ''}",
        goal="0, none",
        met=worker.process.returncode == 0 and not unheard,
    )


def longest_steps(worker: Worker, begin_s: float, most_ms: float, sent_s: Sequence[tuple[float, str]] = ()) -> Measured:
    """The longest steps of a metered worker's event loop, one of each name.

    Args:
        worker: it.
        begin_s: those before are left out; by the monotonic clock.
        most_ms: no step may take longer, in milliseconds of a processor.
        sent_s: what was sent and when: the last before the longest step are named.
    """
    longest: dict[str, dict[str, Any]] = {}
    for step in worker.logged(LONG_STEP):
        if step["at_s"] >= begin_s and step["ms"] > longest.get(step["what"], {"ms": 0.0})["ms"]:
            longest[step["what"]] = step
    found = sorted(longest.values(), key=lambda step: -float(step["ms"]))
    told = [f"{step['ms']:.0f} ms {step['what']}" for step in found[:5]]
    if before := [what for at_s, what in sent_s if found and at_s <= found[0]["at_s"]][-4:]:
        told[0] += f" (sent before: {'; '.join(before)})"
    return Measured(
        name="the longest steps of the event loop, in processor time",
        measured=", ".join(told) or f"none of {TOLD_FROM_S * 1000:g} ms",
        goal=f"at most {most_ms:g} ms",
        met=not found or found[0]["ms"] <= most_ms,
    )
