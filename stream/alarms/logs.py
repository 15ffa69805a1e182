"""The logs of committed results that alarms follow, as the alarms see them.

`kafka.result_logs` has the logs of a service with Kafka, `journal` the one of a service without it.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from patchline.stream.model.alarm import Observation
from patchline.stream.model.outcome import Outcome

IDLE_WAIT_S: Final = 0.2
"""How long a log waits for results before it says that there are none: so soon it is noticed what Redis lost."""
Run: TypeAlias = tuple[Sequence[Observation], int | None]
"""Results of a log in its order, and the position behind them; None where there is nothing new."""


class ResultLog(Protocol):
    """One log of results, in one order."""

    @property
    def name(self) -> str:
        """The name under which Redis keeps its position; the same on every worker and after every restart."""

    @property
    def rebuilds(self) -> bool:
        """Whether results that were applied can be read again, so that alarms that Redis lost are made anew."""

    async def begin(self, position: int | None) -> None:
        """Read on from a position; None: as far back as alarms are rebuilt from.

        Raises:
            SourceUnavailableError, SinkUnavailableError: the log cannot be read now.
        """

    async def read(self) -> Run:
        """The next results, at once when there are some, none after `IDLE_WAIT_S` when there are none.

        Raises as `begin`.
        """

    async def applied(self, position: int) -> None:
        """Let go of what lies before this position, since Redis has it."""

    async def is_empty(self) -> bool:
        """Whether everything that the log holds now has been read."""


class Follower(Protocol):
    """Who applies logs to the alarms; see `AlarmFollower`."""

    def start(self, log: ResultLog) -> None:
        """Follow a log from now on."""

    async def stop(self, name: str) -> None:
        """Follow a log no longer, so that another worker may."""

    def failed(self, error: BaseException) -> None:
        """Learn that nothing can be followed any more, and that another attempt would not help."""


class ResultLogs(Protocol):
    """Where the logs come from."""

    async def open(self, follower: Follower) -> None:
        """Have the logs that are this worker's followed, as they come and go. Raises as `Sink.open` may."""

    async def put(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes of one lane, in its order; on return a log has them. Raises as `Sink.deliver`."""

    async def close(self) -> None:
        """Let everything go."""
