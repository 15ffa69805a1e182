"""Outcomes into alarms: what the pipeline gives results to, and what follows them.

A delivery never waits for Redis. It returns once a log has the results; the follower reads them from there. What runs
beside the deliveries and fails for good is noticed when it fails, and not with the next delivery.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from patchline.stream.alarms.acknowledgements import serve_acknowledgements
from patchline.stream.alarms.config import AlarmLimits, RedisConfig
from patchline.stream.alarms.follower import AlarmFollower
from patchline.stream.alarms.logs import ResultLogs
from patchline.stream.alarms.shelf import serve_shelf
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmConfig, AlarmRules, rules_of
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome


class AlarmSink:
    """Raises, returns and clears the alarms of the cameras whose results its logs hold, and serves acknowledgements.

    Args:
        redis: where alarms live.
        alarms: k, n and m of each camera, or one rule for all.
        logs: the results topic, or a journal.
        limits: how many cameras have alarms, and how long one may be shelved.
        observer: told of every change that this worker has written.
    """

    def __init__(
        self,
        redis: RedisConfig,
        alarms: AlarmRules | AlarmConfig,
        logs: ResultLogs,
        *,
        limits: AlarmLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._timeout_s = redis.timeout_s
        self._observer = observer or Observer()
        self._limits = limits or AlarmLimits()
        self._store = AlarmStore(redis, self._limits, self._observer)
        self._logs = logs
        self._follower = AlarmFollower(self._store, rules_of(alarms), self._limits, self._observer, self._fail)
        self._serving: list[asyncio.Task[None]] = []
        self._failed: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def name(self) -> str:
        """Names the server."""
        return f"Redis alarms ({self._store.where})"

    async def open(self) -> None:
        """Open the logs; Redis may come later. Raises as `Sink.open`."""
        await self._logs.open(self._follower)
        acknowledgements = partial(serve_acknowledgements, self._store, self._observer)
        shelf = partial(serve_shelf, self._store, self._limits, self._observer)
        self._serving = [asyncio.create_task(self._watched(serve)) for serve in (acknowledgements, shelf)]

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Give outcomes to the logs; on return a log has them.

        Raises:
            SinkUnavailableError: no log can take them now.
            SinkError: no log will take them, or what follows the logs has failed.
        """
        if self._failure is not None:
            raise self._failure
        await self._logs.put(outcomes)

    async def until_failed(self) -> None:
        """See `WatchedSink`."""
        await self._failed.wait()
        assert self._failure is not None  # noqa: S101 - `_fail` sets both
        raise self._failure

    async def close(self) -> None:
        """Bring the alarms up to date, within the timeout, and disconnect. What is left stays in the logs."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._failure is None:
                    await self._follower.catch_up()
        except (TimeoutError, SinkError):
            left = SinkUnavailableError("the last results are not applied yet; they are when the service runs again")
            # Under a name of its own: logs tell of what repeats only now and then, and this is the last chance.
            self._observer.retrying(f"last results for {self.name}", left, 1)
        await self._follower.close()
        while serving := {task for task in self._serving if not task.done()}:
            for task in serving:
                task.cancel()  # again: redis-py swallows a cancellation that comes while it connects
            await asyncio.wait(serving, timeout=0.1)
        await self._logs.close()
        await self._store.close()

    async def _watched(self, serve: Callable[[], Awaitable[None]]) -> None:
        try:
            await serve()
        except Exception as error:  # nobody awaits this task before close
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._failed.set()
