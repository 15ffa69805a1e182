"""How frames come in: each source is read while there is room, at the pace of the engine, one frame at a time."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable

from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline.in_flight import InFlightBudget
from patchline.stream.pipeline.live_turns import LiveTurns
from patchline.stream.pipeline.pace import Pace
from patchline.stream.ports import LiveSource, ReplayableSource

URGENT_WEIGHT = 4.0
"""Places that an urgent camera gets for one of another, where the engine is short."""


class Intake:
    """Reads sources into the pipeline.

    Args:
        limits: the linger.
        budget: how much may be in flight.
        pace: when to read.
        urgent: whether a camera's frames go first when the engine is short.
        on_frame: told of each frame as it is read, and of its source where that can be replayed.
        other_lanes: how many lanes that are not live have frames waiting for the engine.
    """

    def __init__(
        self,
        limits: Limits,
        budget: InFlightBudget,
        pace: Pace,
        *,
        urgent: Callable[[str], bool],
        on_frame: Callable[[Frame, ReplayableSource | None], None],
        other_lanes: Callable[[], int],
    ) -> None:
        self._linger_s = limits.linger_s
        self._budget, self._pace, self._on_frame = budget, pace, on_frame
        self._other_lanes = other_lanes
        self._turns = LiveTurns(
            self._room_for_live,
            granted=lambda: pace.read(live=True),
            unused=lambda: pace.judged(live=True),
            weight=lambda camera: URGENT_WEIGHT if urgent(camera) else 1.0,
        )

    async def deal_turns(self) -> None:
        """Let live cameras take turns, until cancelled."""
        await self._turns.run()

    async def read(self, source: AsyncIterable[Frame]) -> None:
        """Read a source to its end."""
        stream = aiter(source)
        try:
            if isinstance(source, LiveSource) and source.live_camera is not None:
                while await source.until_waiting():
                    await self._turns.wait(source.live_camera)
                    try:
                        frame = await anext(stream)
                    except BaseException as error:
                        self._pace.judged(live=True)
                        if isinstance(error, StopAsyncIteration):
                            return
                        raise
                    self._budget.take(frame)
                    self._on_frame(frame, None)
                return
            owner = source if isinstance(source, ReplayableSource) else None
            while True:
                await self._budget.wait()
                await self._pace.wait()
                if owner is not None and self._pace.begins_batch:
                    owner.begin_batch()
                frame_or_end = await anext(stream, None)
                if frame_or_end is None:
                    return
                self._budget.take(frame_or_end)
                self._pace.read()
                self._on_frame(frame_or_end, owner)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _room_for_live(self) -> None:
        await self._budget.wait(live=True)
        await self._pace.wait_for_live(self._linger_s, self._live_share)

    def _live_share(self, ahead: int) -> float:
        """Each camera that waits has as much of a batch as each other lane has."""
        cameras = self._turns.waiting + ahead
        return cameras / max(1, cameras + self._other_lanes())
