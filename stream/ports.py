"""What plugs into the pipeline: sources of frames, sinks of outcomes, listeners, and tasks beside the frames."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result

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


class Listener:
    """Acts on what was judged: keeps evidence, notes scores to learn from, lets a camera's frames go first.

    An `Observer` watches and changes nothing; a listener may change what happens later, and so is plugged in by name.
    Both methods are empty here, are called on the event loop and must return at once; neither may raise.
    """

    def judged(self, frame: Frame, prepared: Image | None, inspection: Inspection | None, result: Result) -> None:
        """A frame was judged, in the order of its camera, before its sinks take it: as `Observer.judged`."""

    def result(self, result: Result) -> None:
        """Every sink has taken the result and its position is committed: as `Observer.result`."""


class SideTask(Protocol):
    """Runs beside the frames, on the same engine, and never holds them up: learning, evidence."""

    async def run(self, thread: EngineThread) -> None:
        """Work until cancelled; called once the engine is warm."""
