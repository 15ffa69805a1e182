"""The last trial of a frame that was alone in flight at two crashes: in a process of its own.

Two crashes may be chance: machines fail, workers are killed. So a frame is not given up for them alone: a process that
does nothing else decodes and judges it. If that process dies too, or hangs, the frame is poison; if it does not, its
inspection is the frame's. Meanwhile the worker goes on with its other frames.
"""

import asyncio
import hashlib
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TypeAlias

from patchline.engine.types import Inspection
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.inspection.engine import Engine, Maps
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Decoded

EngineOf: TypeAlias = Callable[[str], Engine]
"""Makes an engine that knows a recipe; it must be picklable, and is called in the new process."""

START_S = 300.0
"""How long the process may take to have its engine ready."""
JUDGE_S = 120.0
"""How long it may then take with the frame."""


class IsolatedTrial:
    """Tries frames that two crashes speak against, one at a time.

    Args:
        limits: bytes, pixels.
        engine_of: what judges in the other process. None: nothing can be tried, and two crashes are enough.
        check: looks at all of a frame but its image: `Decoder.check`.
        maps: for which frames the anomaly map is kept.
        start_s: how long the other process may take to have its engine ready.
        judge_s: how long it may then take with the frame.
    """

    def __init__(
        self,
        limits: Limits,
        engine_of: EngineOf | None,
        *,
        check: Callable[[Frame], None],
        maps: Maps = "none",
        start_s: float = START_S,
        judge_s: float = JUDGE_S,
    ) -> None:
        self._limits, self._engine_of, self._check, self._maps = limits, engine_of, check, maps
        self._start_s, self._judge_s = start_s, judge_s
        self._one_at_a_time = asyncio.Lock()

    async def judge(self, frame: Frame, payload: bytes) -> tuple[Decoded, Inspection]:
        """Decode and judge a frame elsewhere.

        Args:
            frame: what is known of it; `crashes` is set.
            payload: the encoded image, wherever it was.

        Raises:
            UnreadableError: POISON, or why the frame cannot be inspected.
        """
        try:
            self._check(frame)
            if self._engine_of is None:
                raise _poison(frame, "")
            async with self._one_at_a_time:
                return await self._tried(self._engine_of, frame, payload)
        except UnreadableError as error:
            error.sha256 = (await asyncio.to_thread(hashlib.sha256, payload)).hexdigest()
            raise

    async def _tried(self, engine_of: EngineOf, frame: Frame, payload: bytes) -> tuple[Decoded, Inspection]:
        spawning = multiprocessing.get_context("spawn")  # a fork would take over the locks of this worker's threads
        ours, theirs = spawning.Pipe()
        given = (theirs, engine_of, frame.recipe, self._limits, self._maps)
        process = spawning.Process(target=_try, args=given, daemon=True)
        try:
            await asyncio.to_thread(process.start)
            theirs.close()  # what is left is the other process's: its death is the end of the pipe
            return await asyncio.to_thread(self._conduct, process, ours, frame, payload)
        finally:
            if process.pid is not None:
                process.kill()
                await asyncio.to_thread(process.join)
            ours.close()

    def _conduct(
        self, process: BaseProcess, ours: Connection, frame: Frame, payload: bytes
    ) -> tuple[Decoded, Inspection]:
        doing = "getting ready for it"
        try:
            if not ours.poll(self._start_s):
                raise _poison(frame, f"; a process of its own took more than {self._start_s:g} s {doing}")
            ours.recv()
            doing = "trying it"
            ours.send((frame, payload))
            if not ours.poll(self._judge_s):
                raise _poison(frame, f"; a process of its own took more than {self._judge_s:g} s {doing}")
            kind, *found = ours.recv()
        except (EOFError, OSError) as error:
            process.join()
            raise _poison(frame, f"; a process of its own died {doing} ({_how(process.exitcode)})") from error
        if kind == "failed":
            raise _poison(frame, f"; in a process of its own the engine failed: {found[0]}")
        if kind == "unreadable":
            raise UnreadableError(*found)
        decoded, inspection = found
        return decoded, inspection


def _try(pipe: Connection, engine_of: EngineOf, recipe: str, limits: Limits, maps: Maps) -> None:
    """What the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the worker, which ends this process
    engine = engine_of(recipe)
    engine.warm_up()
    decoder = Decoder(engine.prepare, engine.recipes, limits)
    pipe.send("ready")
    frame, payload = pipe.recv()
    try:
        decoded = decoder.read(frame, payload)
        (inspection,) = engine.inspect([(recipe, decoded.prepared)], maps=maps)
    except UnreadableError as error:
        pipe.send(("unreadable", error.reason, error.detail))
    except Exception as error:  # as a worker, which ends of it
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        pipe.send(("judged", decoded, inspection))


def _poison(frame: Frame, more: str) -> UnreadableError:
    detail = f"the worker crashed {frame.crashes} times while it had this frame alone in flight{more}"
    return UnreadableError(Reason.POISON, detail)


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    return signal.Signals(-status).name
