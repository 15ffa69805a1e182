"""What plugs into the pipeline: sources of frames, and sinks of outcomes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.model.outcome import Outcome

Release: TypeAlias = Callable[[Collection[LaneKey], float], Awaitable[list[LaneKey]]]
"""`Checkpoint.release`."""


@runtime_checkable
class Source(Protocol):
    """Frames, until there are no more. Any async iterator of frames will do; the pipeline opens and closes this one.

    It is read only while there is room, one frame at a time. A frame that was yielded is the pipeline's: it becomes
    a result, or is counted as dropped. A source that drops frames itself counts each as received and as dropped.
    """

    async def open(self) -> None:
        """Connect. Called once, before the first frame is asked for."""

    def __aiter__(self) -> AsyncIterator[Frame]: ...

    async def close(self) -> None:
        """Let everything go. Called once, after the last commit."""


@runtime_checkable
class ReplayableSource(Source, Protocol):
    """A source that is told what is done, and gives the rest again after a crash."""

    def bind(self, release: Release) -> None:
        """Learn how to let frames in flight go when a partition is lost. Called before `open`."""

    def begin_batch(self) -> None:
        """The next frame will be the first of its batch. A batch of few partitions is committed by few commits."""

    async def commit(self, position: Position) -> None:
        """Everything of the position's partition up to and with it is done.

        Raises:
            SourceUnavailableError: not now; the pipeline tries again.
        """

    async def try_alone(self, position: Position) -> None:
        """The frame at the position, its partition's first that is not done, is about to be tried alone.

        Raises:
            LaneLostError: the partition is another worker's.
            SourceUnavailableError, SinkUnavailableError: not now; the pipeline tries again.
        """


class Sink(Protocol):
    """Takes outcomes. Delivering the same outcome twice must do no harm beyond what the sink documents."""

    @property
    def name(self) -> str:
        """For messages and metrics."""

    async def open(self) -> None:
        """Connect. Called once, before the first delivery."""

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes of one lane, in its order; on return they are safe.

        Raises:
            SinkUnavailableError: not now; the pipeline tries again with the same outcomes.
            LaneLostError: another worker has the lane; only a sink that is the pipeline's ledger may say so.
            SinkError: never; the pipeline stops.
        """

    async def close(self) -> None:
        """Flush and let everything go."""


class SideTask(Protocol):
    """Runs beside the frames, on the same engine, and never holds them up: learning, evidence."""

    async def run(self, thread: EngineThread) -> None:
        """Work until cancelled; called once the engine is warm."""
