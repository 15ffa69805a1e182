"""Outcomes into alarms: what the pipeline gives results to, and what follows them.

A delivery never waits for Redis. It returns once a log has the results; the follower reads them from there.
"""

import asyncio
from collections.abc import Mapping, Sequence

from patchline.stream.alarms.acknowledgements import serve_acknowledgements
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.follower import AlarmFollower
from patchline.stream.alarms.logs import ResultLogs
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome


class AlarmSink:
    """Raises, returns and clears the alarms of the cameras whose results its logs hold, and serves acknowledgements.

    Args:
        redis: where alarms live.
        alarms: k, n and m for all cameras.
        logs: the results topic, or a journal.
        cameras: k, n and m of single cameras.
        observer: told of every change that this worker has written.
    """

    def __init__(
        self,
        redis: RedisConfig,
        alarms: AlarmConfig,
        logs: ResultLogs,
        *,
        cameras: Mapping[str, AlarmConfig] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._timeout_s = redis.timeout_s
        self._observer = observer or Observer()
        self._store = AlarmStore(redis)
        self._logs = logs
        self._follower = AlarmFollower(self._store, alarms, cameras or {}, self._observer, self._fail)
        self._serving: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def name(self) -> str:
        """Names the server."""
        return f"Redis alarms ({self._store.where})"

    async def open(self) -> None:
        """Open the logs; Redis may come later. Raises as `Sink.open`."""
        await self._logs.open(self._follower)
        self._serving = asyncio.create_task(self._serve())

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Give outcomes to the logs; on return a log has them.

        Raises:
            SinkUnavailableError: no log can take them now.
            SinkError: no log will take them, or Redis has refused an earlier result or an acknowledgement.
        """
        if self._failure is not None:
            raise self._failure
        await self._logs.put(outcomes)

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
        while self._serving is not None and not self._serving.done():
            self._serving.cancel()  # again: redis-py swallows a cancellation that comes while it connects
            await asyncio.wait({self._serving}, timeout=0.1)
        await self._logs.close()
        await self._store.close()

    async def _serve(self) -> None:
        try:
            await serve_acknowledgements(self._store, self._observer)
        except Exception as error:  # the next delivery raises it: nobody awaits this task before close
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
