"""Alarms follow results: a task for each log reads its results in their order and applies them.

A log keeps results until they are applied: the results topic, read committed, or the journal of a service without
Kafka. Redis says where to go on, so a restart, another worker and a Redis that lost its last second all lead to the
same alarms. While Redis is away the logs wait, on disk; nothing else does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TypeVar

from patchline.stream.alarms.applier import AlarmApplier
from patchline.stream.alarms.config import AlarmLimits
from patchline.stream.alarms.logs import ResultLog
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmRules
from patchline.stream.model.errors import SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done

T = TypeVar("T")
IDLE_LOOK_EVERY_S = 0.15
"""How often, at most, a log that brings nothing asks whether Redis still has its position: one small request. It is
less than a log waits for results, so that each wait ends with a look."""
STATES_LOOK_EVERY_S = 0.5
"""How often such a log also asks what others changed of the alarms."""
LONGEST_PAUSE_S = 0.25
"""A Redis that is away is asked so often: alarms are back soon after it is."""


class AlarmFollower:
    """Applies every log that it is given.

    Args:
        store: where alarms live.
        rules: k, n and m of each camera.
        limits: how many cameras are remembered.
        observer: told of changes, of states, and whether Redis answers.
        failed: told of an error that another attempt cannot help.
    """

    def __init__(
        self,
        store: AlarmStore,
        rules: AlarmRules,
        limits: AlarmLimits,
        observer: Observer,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store, self._rules, self._limits, self._observer = store, rules, limits, observer
        self._failed = failed
        self._following: dict[str, asyncio.Task[None]] = {}
        self._logs: dict[str, ResultLog] = {}

    def start(self, log: ResultLog) -> None:
        """Follow a log from now on."""
        self._logs[log.name] = log
        self._following[log.name] = asyncio.create_task(self._watched(log))

    async def stop(self, name: str) -> None:
        """Follow a log no longer, so that another worker may. A write under way is done or not; Redis knows which."""
        self._logs.pop(name, None)
        task = self._following.pop(name, None)
        while task is not None and not task.done():  # redis-py swallows a cancellation that comes while it connects
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)

    def failed(self, error: BaseException) -> None:
        """See `Follower`."""
        self._failed(error)

    async def catch_up(self) -> None:
        """Return once every log is read and applied as far as it goes now."""
        for log in list(self._logs.values()):
            while not await log.is_empty():  # noqa: ASYNC110 - part of the answer is Kafka's
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Follow nothing any more."""
        await asyncio.gather(*(self.stop(name) for name in list(self._following)))

    async def _watched(self, log: ResultLog) -> None:
        writer = AlarmApplier(log.name, self._store, self._rules, self._limits, self._observer)
        try:
            while True:
                await self._follow(log, writer)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # nobody awaits this task
            self._failed(error)
        finally:
            writer.leave()

    async def _follow(self, log: ResultLog, writer: AlarmApplier) -> None:
        """Apply the log from where Redis stands, and return when Redis stands elsewhere than this worker believes.

        Redis is asked where it stands while nothing comes, too: what it lost comes back while the line stands still.
        """
        before = await self._redis(partial(writer.position, restores=not log.rebuilds))
        looked_s = states_looked_s = monotonic()
        await retry_until_done(f"alarms from {log.name}", lambda: log.begin(before), self._observer)
        while True:
            run, after = await retry_until_done(f"alarms from {log.name}", log.read, self._observer)
            if after is None:
                if monotonic() - looked_s >= IDLE_LOOK_EVERY_S:
                    if not await self._redis(partial(writer.stands_at, before)):
                        return
                    looked_s = monotonic()
                    if looked_s - states_looked_s >= STATES_LOOK_EVERY_S:
                        await self._redis(writer.look_at_states)
                        states_looked_s = monotonic()
                continue
            if not await self._redis(partial(writer.apply, run, before, after)):
                return
            before = after
            await log.applied(after)

    async def _redis(self, request: Callable[[], Awaitable[T]]) -> T:
        async def asked() -> T:
            try:
                answer = await request()
            except SinkUnavailableError:
                self._observer.alarm_store(False)
                raise
            self._observer.alarm_store(True)
            return answer

        name = f"Redis alarms ({self._store.where})"
        return await retry_until_done(name, asked, self._observer, longest_s=LONGEST_PAUSE_S)
