"""What plugs into the pipeline: sources of frames, sinks of outcomes, listeners, and tasks beside the frames.

Whoever writes one reads this file alone.

A source is an async iterator of frames. A generator function is enough; where something has to be connected and let
go, it is a class with `open`, `__aiter__` and `close`. A sink is a class with `name`, `open`, `deliver`, `close`. The
type of an error says whether another attempt may help: after `SourceUnavailableError` from `open`, and after
`SinkUnavailableError`, the pipeline tries again, with growing pauses; any other error ends it.

A camera that leaves its pictures in a folder, and an archive of what was rejected:

>>> from datetime import UTC, datetime
>>> from pathlib import Path
>>> from time import monotonic
>>> from patchline.engine.types import Verdict
>>> from patchline.stream.model.errors import SinkUnavailableError, SourceUnavailableError
>>> from patchline.stream.model.frame import Frame

>>> class PictureFolder:
...     def __init__(self, folder: Path, camera: str, recipe: str) -> None:
...         self._folder, self._camera, self._recipe = folder, camera, recipe
...
...     async def open(self) -> None:
...         if not self._folder.is_dir():
...             raise SourceUnavailableError(f"{self._folder} is not mounted")
...
...     async def __aiter__(self):
...         for file in sorted(self._folder.glob("*.jpg")):
...             yield Frame(
...                 frame_id=f"{self._camera}/{file.stem}",
...                 camera=self._camera,
...                 recipe=self._recipe,
...                 time=datetime.fromtimestamp(file.stat().st_mtime, UTC),
...                 received_s=monotonic(),
...                 payload=file.read_bytes(),
...             )
...
...     async def close(self) -> None:
...         pass

>>> class RejectArchive:
...     name = "archive of rejects"
...
...     def __init__(self, folder: Path) -> None:
...         self._folder = folder
...
...     async def open(self) -> None:
...         self._folder.mkdir(exist_ok=True)
...
...     async def deliver(self, outcomes) -> None:
...         for outcome in outcomes:
...             if outcome.result.verdict is Verdict.REJECT:
...                 file = self._folder / outcome.frame.frame_id.replace("/", "_")
...                 try:
...                     file.write_bytes(outcome.frame.payload)  # the same outcome again writes the same file
...                 except OSError as error:
...                     raise SinkUnavailableError(f"{file} cannot be written: {error}") from error
...
...     async def close(self) -> None:
...         pass

Here `engine` judges, an `Inspector` of `patchline.engine` with banks by recipe; `folder` has the pictures 1.jpg, 2.jpg
and 3.jpg, of which the second shows a defect:

>>> import asyncio
>>> from patchline.stream.pipeline.pipeline import Pipeline
>>> source, archive = PictureFolder(folder, "cam-1", "plate"), RejectArchive(folder / "rejects")
>>> asyncio.run(Pipeline(sources=[source], engine=engine, sinks=[archive]).run())
>>> [file.name for file in (folder / "rejects").iterdir()]
['cam-1_2']

A misspelt method is an error when the source or the sink is plugged in, not one when it is first missed:

>>> class Misspelt(RejectArchive):
...     deliver = None
...     delivr = RejectArchive.deliver
>>> Pipeline(sources=[source], engine=engine, sinks=[Misspelt(folder)])
Traceback (most recent call last):
patchline.stream.model.errors.ConfigError: the sink Misspelt has no method `deliver`: found `delivr`
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result

Release: TypeAlias = Callable[[Collection[LaneKey], float], Awaitable[list[LaneKey]]]
"""Lets frames in flight go: given lanes, and for how long (seconds) what is in flight may still finish and commit, it
returns the lanes of which frames were left undone. These have no result; the partition's next owner reads them again.
"""


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
class LiveSource(Protocol):
    """A `Source` of one camera that does not wait: of its frames the freshest alone is kept, until it is taken.

    It is taken when it is this camera's turn, shortly before the engine can judge it.
    """

    @property
    def live_camera(self) -> str | None:
        """The camera; None where frames wait for their turn after all."""

    async def until_waiting(self) -> bool:
        """Wait until a frame, or the error that ended the source, can be taken at once; False after the last."""


@runtime_checkable
class ReplayableSource(Protocol):
    """A source that is told what is done, and gives the rest again after a crash."""

    async def open(self, release: Release) -> None:
        """Connect. Called once, before the first frame is asked for.

        Args:
            release: lets frames in flight of partitions go, when they are lost.
        """

    def __aiter__(self) -> AsyncIterator[Frame]: ...

    async def close(self) -> None:
        """Let everything go. Called once, after the last commit."""

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


@runtime_checkable
class HoldableSource(Protocol):
    """A `ReplayableSource` that can go on with some of its partitions while others wait."""

    def hold(self, lanes: Collection[LaneKey]) -> None:
        """Give no frame of these lanes until told otherwise, and those of all others. It must return at once."""


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


@runtime_checkable
class WatchedSink(Protocol):
    """A sink with tasks of its own, which may fail while nothing is delivered."""

    async def until_failed(self) -> None:
        """Wait until one of them has failed for good, and raise its error; it never returns otherwise."""


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


_SOURCE = ("open", "close")
_REPLAYABLE = ("begin_batch", "commit", "try_alone")
_SINK = ("open", "deliver", "close")


def check_source(source: AsyncIterable[Frame]) -> None:
    """Check that what is plugged in as a source has every method of the kind of source that it is meant to be.

    An async iterator that has none of them is a source as it is. One that has any of them, or any that differs from one
    of them by a slip of the pen, is meant to be a `Source`, or a `ReplayableSource`, and must have all.

    Raises:
        ConfigError: it is no async iterator, or a method is missing.
    """
    if not callable(getattr(source, "__aiter__", None)):
        raise ConfigError(f"the source {_kind(source)} is no async iterator of frames: it has no method `__aiter__`")
    if _has_any(source, _REPLAYABLE):
        _require(source, "source", _SOURCE + _REPLAYABLE)
    elif _has_any(source, _SOURCE):
        _require(source, "source", _SOURCE)


def check_sink(sink: Sink) -> None:
    """Check that what is plugged in as a sink has a name and every method of a sink.

    Raises:
        ConfigError: something is missing.
    """
    _require(sink, "sink", _SINK)
    if not isinstance(getattr(sink, "name", None), str):
        raise ConfigError(f"the sink {_kind(sink)} has no `name`: expected a text, for messages and metrics")


def _require(plugged_in: object, role: str, methods: Iterable[str]) -> None:
    for method in methods:
        if not _has(plugged_in, method):
            slips = _slips(plugged_in, method)
            found = f": found `{slips[0]}`" if slips else ""
            raise ConfigError(f"the {role} {_kind(plugged_in)} has no method `{method}`{found}")


def _has_any(plugged_in: object, methods: Iterable[str]) -> bool:
    return any(_has(plugged_in, method) or _slips(plugged_in, method) for method in methods)


def _has(plugged_in: object, method: str) -> bool:
    """Whether it has a method of its own; a class that names its protocol as a base inherits one that does nothing."""
    inherited = [getattr(protocol, method, None) for protocol in (Source, ReplayableSource, Sink)]
    return callable(getattr(plugged_in, method, None)) and getattr(type(plugged_in), method, None) not in [
        stub for stub in inherited if stub is not None
    ]


def _slips(plugged_in: object, method: str) -> list[str]:
    """Its public methods whose names differ from one by a single slip."""
    # `aclose` is every async generator's, and no slip.
    names = [name for name in dir(plugged_in) if not name.startswith("_") and name != "aclose"]
    return [name for name in names if _is_slip(name, method) and callable(getattr(plugged_in, name, None))]


def _is_slip(name: str, meant: str) -> bool:
    """Whether two names differ by one letter more, less or other, or by the order of their letters."""
    if name == meant:
        return False
    longer, shorter = (name, meant) if len(name) > len(meant) else (meant, name)
    if len(longer) == len(shorter):
        return sorted(name) == sorted(meant) or sum(a != b for a, b in zip(name, meant, strict=True)) == 1
    return any(longer[:place] + longer[place + 1 :] == shorter for place in range(len(longer)))


def _kind(plugged_in: object) -> str:
    return type(plugged_in).__name__
