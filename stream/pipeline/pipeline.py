"""The whole path of a frame: source -> decode -> batch -> inspect -> decide -> sinks -> checkpoint.

One task carries one frame from its source to its checkpoint, so a failure anywhere reaches the pipeline by the task
group, and the pipeline is at rest exactly when no such task is left. `_frame` is that path; everything else here is
starting, stopping and counting.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from time import monotonic

from patchline.engine.types import Image, Inspection
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.decoding.reference import FrameReferences
from patchline.stream.inspection.batcher import Batcher
from patchline.stream.inspection.engine import Engine, Maps
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import AbortedError, DropCause, LaneLostError, Reason, UnreadableError
from patchline.stream.model.frame import POISON_CRASHES, Frame, LaneKey, lane_of
from patchline.stream.model.limits import Limits, RecipeConfig
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome, judged, not_inspected
from patchline.stream.pipeline.checkpoint import Checkpoint, LaneEntry
from patchline.stream.pipeline.gate import Gate
from patchline.stream.pipeline.in_flight import InFlightBudget
from patchline.stream.pipeline.intake import URGENT_WEIGHT, Intake
from patchline.stream.pipeline.isolated_trial import EngineOf, IsolatedTrial
from patchline.stream.pipeline.pace import Pace
from patchline.stream.ports import (
    HoldableSource,
    Listener,
    ReplayableSource,
    SideTask,
    Sink,
    WatchedSink,
    check_sink,
)
from patchline.stream.support.deadline import Deadline
from patchline.stream.support.heartbeat import Heartbeat
from patchline.stream.support.retry import retry_until_done


class Pipeline:
    """Reads sources, judges every frame, and hands each outcome to every sink before its position is committed.

    Args:
        sources: each an async iterator of frames; a `Source` is opened and closed too, a `ReplayableSource` is told
            what is done.
        engine: what judges; only its `prepare` is called off the engine's thread.
        sinks: every one of them takes every outcome.
        ledger: takes every outcome before the sinks do, which then see only what it has committed.
        limits: sizes, bounds and the linger.
        recipes: deadlines by recipe name.
        observer: who watches.
        maps: which anomaly maps the engine keeps for the observer.
        listeners: act on what was judged; told after the observer, in their order.
        side_tasks: run while frames are taken.
        urgent: whether a camera's frames go first when the engine is short.
        trial_engine: makes the engine that tries a frame that two crashes speak against, in a process of its own.
            None: two crashes alone are enough to give it up.
        heart: beats while the engine's thread moves.
    """

    def __init__(
        self,
        *,
        sources: Sequence[AsyncIterable[Frame]],
        engine: Engine,
        sinks: Sequence[Sink],
        ledger: Sink | None = None,
        limits: Limits | None = None,
        recipes: Mapping[str, RecipeConfig] | None = None,
        observer: Observer | None = None,
        maps: Maps = "none",
        listeners: Sequence[Listener] = (),
        side_tasks: Sequence[SideTask] = (),
        urgent: Callable[[str], bool] = lambda _: False,
        trial_engine: EngineOf | None = None,
        heart: Heartbeat | None = None,
    ) -> None:
        for sink in sinks if ledger is None else (ledger, *sinks):
            check_sink(sink)
        limits = limits or Limits()
        self._sinks, self._ledger = tuple(sinks), ledger
        self._recipes = recipes or {}
        self._side_tasks = tuple(side_tasks)
        self._observer = observer or Observer()
        self._told: tuple[Observer | Listener, ...] = (self._observer, *listeners)
        self._engine = EngineThread(engine, maps=maps, heart=heart)
        self._references = FrameReferences(limits, self._observer)
        self._decoder = Decoder(engine.prepare, engine.recipes, limits)
        self._isolated_trial = IsolatedTrial(limits, trial_engine, check=self._decoder.check, maps=maps)
        self._batcher: Batcher[tuple[Frame, Image], Inspection] = Batcher(
            self._inspect,
            size=limits.batch_size,
            slots=self._engine.slots,
            linger_s=limits.linger_s,
            capacity=limits.max_in_flight,
            on_close=self._batch_closed,
            lane=lambda item: lane_of(item[0]),
            weight=lambda item: URGENT_WEIGHT if urgent(item[0].camera) else 1.0,
            first=lambda item: self._intake.is_live(item[0]),
        )
        self._budget = InFlightBudget(limits.max_in_flight, limits.max_in_flight_bytes, self._hold)
        self._pace = Pace(limits.max_wait_s, batch_size=limits.batch_size, slots=self._engine.slots)
        self._intake = Intake(
            sources,
            limits,
            self._budget,
            self._pace,
            observer=self._observer,
            urgent=urgent,
            on_frame=self._arrived,
            lanes_waiting=lambda: self._batcher.lanes,
        )
        self._gate = Gate()
        self._checkpoint = Checkpoint(
            self._flush, self._left, limits.commit_interval_s, at_once=limits.max_in_flight // 4
        )
        self._owners: dict[LaneKey, ReplayableSource] = {}
        self._frames = asyncio.TaskGroup()
        self._work: asyncio.Task[None] | None = None
        self._opening = False
        self._draining = False
        self._abort_reason: str | None = None

    async def run(self) -> None:
        """Inspect until every source has ended, or until `drain`; then close everything.

        Raises:
            AbortedError: `abort` was called, or `drain` ran out of time.
            PatchlineError: what stopped the stream: a sink or source for good, or the engine.
        """
        self._work = asyncio.create_task(self._run())
        try:
            await self._work
        except asyncio.CancelledError:
            if self._abort_reason is not None:
                raise AbortedError(self._abort_reason) from None
            if not self._draining or not self._opening:
                raise
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        finally:
            self._count_aborted()
            self._work = None

    async def drain(self, deadline: Deadline | None = None) -> None:
        """Stop reading, finish what is in flight, commit it; `run` then closes and returns.

        When the deadline passes first, what is left is aborted.
        """
        self._draining = True
        self._observer.ready(False)
        self._intake.stop()
        if self._work is None:
            return
        if self._opening:
            self._work.cancel()
        done, _ = await asyncio.wait({self._work}, timeout=deadline.left_s if deadline else None)
        if not done:
            self.abort("the frames in flight were not finished before the deadline")

    async def change_sources(self, gone: Sequence[AsyncIterable[Frame]], new: Sequence[AsyncIterable[Frame]]) -> None:
        """Close some sources, then open others; those that stay go on meanwhile, to the frame.

        Frames of those that go are judged where they are in flight. A pipeline that ends changes nothing.

        Raises:
            ConfigError: a new source lacks a method.
        """
        if not self._draining and self._work is not None and not self._opening:
            change = self._intake.change(self._frames, gone, new, self._checkpoint.release)
            await self._frames.create_task(change)  # as one of the frames' tasks, it keeps the pipeline from ending

    def abort(self, reason: str = "the stream was told to stop at once") -> None:
        """Stop now. Frames in flight have no result; those that can be replayed will be, by the next worker."""
        if self._work is not None and self._abort_reason is None:
            self._abort_reason = reason
            self._work.cancel()

    async def _run(self) -> None:
        async with AsyncExitStack() as closing:
            await self._open(closing)
            async with asyncio.TaskGroup() as batches:
                batches.create_task(self._batcher.run())
                beside = [batches.create_task(task.run(self._engine)) for task in self._side_tasks]
                watched = [sink for sink in self._sinks if isinstance(sink, WatchedSink)]
                beside += [batches.create_task(sink.until_failed()) for sink in watched]
                beside.append(batches.create_task(self._intake.deal_turns()))
                async with asyncio.TaskGroup() as self._frames:
                    self._intake.begin(self._frames)
                    self._observer.ready(True)
                self._batcher.close()
                for task in beside:
                    task.cancel()

    async def _open(self, closing: AsyncExitStack) -> None:
        """Open everything in the order of the path's end to its start; it is closed the other way round."""
        self._opening = True
        closing.callback(self._references.close)
        closing.callback(self._decoder.close)
        closing.callback(self._engine.close)
        await self._engine.warm_up()
        for sink in (self._ledger, *self._sinks) if self._ledger is not None else self._sinks:
            closing.push_async_callback(sink.close)
            await retry_until_done(sink.name, sink.open, self._observer)
        closing.push_async_callback(self._intake.close)
        await self._intake.open(self._checkpoint.release)
        closing.callback(self._observer.ready, False)
        self._opening = False

    def _arrived(self, frame: Frame, owner: ReplayableSource | None) -> None:
        entry = self._checkpoint.arrive(frame)
        if owner is not None:
            self._owners[entry.lane.key] = owner
        self._observer.frame_received(frame.camera)
        self._observer.queue_depth("in_flight", self._budget.frames)
        self._frames.create_task(self._frame(frame, entry))

    async def _frame(self, frame: Frame, entry: LaneEntry) -> None:
        async with AsyncExitStack() as inside:
            try:
                outcome = await self._judge(frame, entry, inside)
            except LaneLostError as lost:
                entry.lane.abandoned = True  # the outcome goes nowhere
                outcome = not_inspected(frame, UnreadableError(Reason.POISON, str(lost)), None)
            if frame.crashes is None:
                await inside.aclose()
            # A frame that is alone is so until it is committed: then nothing else was in flight if it crashes.
            self._pace.judged(live=self._intake.is_live(frame))
            await self._checkpoint.settle(entry, outcome, until_left=frame.crashes is not None)

    async def _judge(self, frame: Frame, entry: LaneEntry, inside: AsyncExitStack) -> Outcome:
        recipe, crashes = self._recipes.get(frame.recipe), frame.crashes
        if crashes is not None:
            await entry.lane.until_first(entry)
        try:
            waiting = partial(self._waiting, frame)
            # Storage that is away holds up its lane, for as long as this worker has it.
            async with entry.lane.while_held(), self._references.payload_of(frame, waiting) as payload:
                if crashes is not None and crashes >= POISON_CRASHES:
                    return judged(frame, *await self._isolated_trial.judge(frame, payload), recipe)
                await inside.enter_async_context(self._gate.together() if crashes is None else self._gate.alone())
                if crashes is not None:
                    await self._note_alone(frame, entry)
                began = monotonic()
                decoded = await self._decoder.decode(frame, payload, waiting)
            self._observer.stage_seconds("decode", frame.camera, monotonic() - began)
            inspection = await self._batcher.submit((frame, decoded.prepared))
            return judged(frame, decoded, inspection, recipe)
        except UnreadableError as error:
            return not_inspected(frame, error, recipe)

    @contextmanager
    def _waiting(self, frame: Frame) -> Iterator[None]:
        """A frame waits for something else than the engine: its lane may not take all room meanwhile."""
        with self._budget.waiting(frame), self._pace.aside():
            yield

    def _hold(self, lanes: frozenset[LaneKey]) -> None:
        for source in self._intake.sources:
            if isinstance(source, HoldableSource):
                source.hold(lanes)
        self._observer.lanes_held(len(lanes))

    async def _note_alone(self, frame: Frame, entry: LaneEntry) -> None:
        position, owner = frame.position, self._owners.get(entry.lane.key)
        if entry.lane.abandoned:
            raise LaneLostError("the frame's partition was given up")
        if position is not None and owner is not None:
            await retry_until_done("commit", lambda: owner.try_alone(position), self._observer)

    async def _inspect(self, frames: Sequence[tuple[Frame, Image]]) -> Sequence[Inspection]:
        began = monotonic()
        with self._pace.inspecting(len(frames), sum(self._intake.is_live(frame) for frame, _ in frames)):
            inspections = await self._engine.inspect([(frame.recipe, prepared) for frame, prepared in frames])
        self._observer.stage_seconds("inspect", "", monotonic() - began)
        return inspections

    async def _flush(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            for told in self._told:
                told.judged(outcome.frame, outcome.prepared, outcome.inspection, outcome.result)
        if self._ledger is not None:
            await self._deliver(self._ledger, outcomes)
        async with asyncio.TaskGroup() as deliveries:
            for sink in self._sinks:
                deliveries.create_task(self._deliver(sink, outcomes))
        last = outcomes[-1].frame
        if last.position is not None and (owner := self._owners.get(lane_of(last))) is not None:
            position = last.position
            await retry_until_done("commit", lambda: owner.commit(position), self._observer)
        now = monotonic()
        for outcome in outcomes:
            camera = outcome.frame.camera
            for told in self._told:
                told.result(outcome.result)
            self._observer.stage_seconds("sinks", camera, now - outcome.judged_s)
            self._observer.stage_seconds("end_to_end", camera, now - outcome.frame.received_s)

    async def _deliver(self, sink: Sink, outcomes: Sequence[Outcome]) -> None:
        await retry_until_done(sink.name, lambda: sink.deliver(outcomes), self._observer)

    def _left(self, outcome: Outcome) -> None:
        self._budget.give(outcome.frame)
        self._observer.queue_depth("in_flight", self._budget.frames)

    def _count_aborted(self) -> None:
        """Frames in flight that nobody will ever see again."""
        for lane in self._checkpoint.lanes:
            topic_or_camera, partition = lane.key
            for _ in range(lane.open if partition < 0 else 0):
                self._observer.frame_dropped(topic_or_camera, DropCause.ABORTED)

    def _batch_closed(self, items: Sequence[tuple[Frame, Image]], waited_s: Sequence[float]) -> None:
        self._observer.batch_closed(len(items))
        self._observer.queue_depth("batcher", self._batcher.waiting)
        for (frame, _), seconds in zip(items, waited_s, strict=True):
            self._observer.stage_seconds("queue", frame.camera, seconds)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure behind a group: its first leaf, whose message is written for the user."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
