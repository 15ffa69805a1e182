"""The service: everything assembled from settings, run until it is told to stop.

SIGHUP opens log and results files anew and reads the settings again (`reloading.py`); on a terminal it says that the
terminal has gone, and stops as SIGTERM does.
The first SIGTERM or SIGINT drains in order (intake, batcher, engine, sinks, commit, close) within `limits.drain_s` and
ends with 0. A second one stops at once and ends with 1: frames in flight have no result then, and those of Kafka are
read again by the next worker. SIGUSR1 lets the log say everything, and the next one as much as before.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from patchline.engine.errors import PatchlineError
from patchline.ops.errors import OpsError
from patchline.ops.service.assembly import (
    camera_events_of,
    inspector_of,
    kafka_sources,
    ledger_of,
    load_banks,
    sinks_of,
    trial_engine_of,
)
from patchline.ops.service.ending import end_within
from patchline.ops.service.learning_assembly import (
    backend_of,
    drift_of,
    evidence_of,
    keeper_of,
    learning_recipes,
    loop_of,
)
from patchline.ops.service.live_cameras import LiveCameras
from patchline.ops.service.readiness import Readiness
from patchline.ops.service.reloading import Reloading
from patchline.ops.service.settings_change import SettingsChange
from patchline.ops.settings.model import Settings
from patchline.ops.settings.secrets import secret_values
from patchline.ops.telemetry.camera_log import CameraLog
from patchline.ops.telemetry.log_observer import LogObserver
from patchline.ops.telemetry.logs import configure, reopen, toggle_debug
from patchline.ops.telemetry.metrics import Metrics
from patchline.ops.telemetry.worker_metrics import http_refusals, show_silence
from patchline.ops.web.access import Tokens
from patchline.ops.web.cameras_api import camera_routes
from patchline.ops.web.connections import HttpLimits, Refusal, limits_of
from patchline.ops.web.descriptors import connections_possible
from patchline.ops.web.feedback_api import FeedbackApi
from patchline.ops.web.server import HttpServer
from patchline.ops.web.tls import tls_of
from patchline.stream.alarms.urgency import AlarmConditions
from patchline.stream.kafka.topics import ensure_topics
from patchline.stream.model.errors import AbortedError
from patchline.stream.model.observer import Observer
from patchline.stream.pipeline import Pipeline
from patchline.stream.recording.jsonl import JsonLinesSink
from patchline.stream.support.deadline import Deadline
from patchline.stream.support.heartbeat import Watchdog
from patchline.stream.support.redaction import Redactor
from patchline.stream.support.retry import retry_until_done

FORCED_EXIT_S = 3.0
"""After a second signal, or the end of the drain's time: how long the process may take to end whatever hangs."""
SWITCH_INTERVAL_S = 0.0005
"""After so long Python asks a thread for the interpreter, which cores need some twenty times a frame. By default it is
5 ms: a core then waits for the event loop or the learner longer than it computes.
"""
ENGINE, CONSUMER = "engine", "consumer"
"""What the watchdog watches."""
log = structlog.get_logger("patchline")


def run_service(settings: Settings, *, file: Path | None = None, at_end: Callable[[int], None] = lambda _: None) -> int:
    """Run until the sources end or a signal comes.

    Args:
        settings: what to run.
        file: where they were read, to be read again when they change; None: they do not.
        at_end: called with the exit status once everything is done but waiting for the threads of libraries, which may
            hang: the event loop waits for them without end.

    Returns:
        The exit status: 0 after an orderly end, 1 where frames in flight were given up.

    Raises:
        OpsError: what kept the service from starting or going on.
    """
    redactor = Redactor()
    _know_secrets(redactor, settings)
    configure(level=settings.log.level, style=settings.log.format, redactor=redactor, file=settings.log.file)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        return asyncio.run(_served(Service(settings, file, redactor), at_end))
    except AbortedError as error:
        log.error("stopped with frames in flight", reason=str(error))
        return 1
    except (PatchlineError, OpsError) as error:
        log.error("stopped", error=str(error))
        raise OpsError(redactor.text(str(error))) from error


def _know_secrets(redactor: Redactor, settings: Settings) -> None:
    redactor.know(part for secret in settings.all_secrets() for part in secret_values(secret))


async def _served(service: "Service", at_end: Callable[[int], None]) -> int:
    code = 1
    try:
        code = await service.run()
    finally:
        at_end(code)
    return code


class Service:
    """One worker: metrics and health on HTTP, and the pipeline that the settings describe."""

    def __init__(self, settings: Settings, file: Path | None = None, redactor: Redactor | None = None) -> None:
        self._settings = settings
        self._redactor = redactor or Redactor()
        self._state = Readiness()
        self._metrics = Metrics(max_cameras=settings.limits.max_camera_labels)
        self._cameras = LiveCameras(settings, self._metrics, self._state, _Settled(), LogObserver(), CameraLog())
        self._observer = self._cameras.observer
        self._conditions = AlarmConditions(settings.alarm_rules())
        self._watchdog = Watchdog(settings.limits.watchdog_s)
        show_silence(self._watchdog, self._metrics.registry)
        self._api = FeedbackApi()
        self._reloading = Reloading(file, settings, self._change, self._metrics.registry) if file is not None else None
        self._http = HttpServer(
            self._metrics.registry,
            self._state.why_not_ready,
            remark=self._state.waiting_for,
            health=self._watchdog.hanging,
            host=settings.http.host,
            port=settings.http.port,
            tls=tls_of(settings.http),
            tokens=Tokens(settings.http.identities()),
            routes=[
                *self._api.routes(),
                *camera_routes(self._cameras.board),
                *(self._reloading.routes() if self._reloading is not None else ()),
            ],
            max_body_bytes=settings.limits.max_frame_bytes * 2,  # an inline image is base64
            limits=self._http_limits(),
            refused=http_refusals(Refusal, self._metrics.registry),
        )
        self._on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._pipeline: Pipeline | None = None
        self._starting: asyncio.Task[Pipeline] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._signals = 0
        self._files: list[JsonLinesSink] = []
        self._reopening: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Start, inspect, stop; 0 after an orderly end.

        Raises:
            AbortedError: frames in flight were given up.
            PatchlineError, OpsError: what kept the service from starting or going on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reopen)
        loop.add_signal_handler(signal.SIGUSR1, toggle_debug, self._settings.log.level)
        await self._http.start()
        log.info("listening", url=self._http.url, pid=os.getpid())
        try:
            self._starting = asyncio.create_task(self._start())
            try:
                self._pipeline = await self._starting
            except asyncio.CancelledError:
                if not self._signals:
                    raise
                log.info("stopped before the first frame")
                return 0
            watching = asyncio.create_task(self._reloading.watch()) if self._reloading is not None else None
            try:
                await self._pipeline.run()
            finally:
                if watching is not None:
                    watching.cancel()
            if self._draining is not None:
                await self._draining
            log.info("stopped in order")
            return 0
        finally:
            await self._http.stop()

    async def _start(self) -> Pipeline:
        """Load the banks off the event loop, see to the topics, and put the pipeline together."""
        settings, observer = self._settings, self._observer
        self._state.say("loading banks")
        banks = await asyncio.to_thread(load_banks, settings)
        engine = await asyncio.to_thread(inspector_of, settings.engine, banks)
        self._metrics.banks(banks)
        for name, bank in banks.items():
            log.info("bank loaded", recipe=name, generation=bank.generation, rows=len(bank.rows), sha256=bank.sha256)
        kafka = settings.kafka_config()
        if kafka is not None and settings.kafka.create_topics:
            self._state.say("waiting for Kafka")
            size, learning = settings.limits.max_frame_bytes, bool(learning_recipes(settings))
            cameras = bool(settings.opened_cameras())
            created = await retry_until_done(
                "Kafka topics",
                lambda: ensure_topics(
                    kafka, max_frame_bytes=size, learning=learning, cameras=cameras, observer=observer
                ),
                observer,
            )
            if created:
                log.info("topics created", topics=created)
        self._state.say("opening sources and sinks")
        sinks = sinks_of(settings, observer)
        self._files = [sink for sink in sinks if isinstance(sink, JsonLinesSink)]
        ledger = ledger_of(settings, observer)
        evidence = await asyncio.to_thread(evidence_of, settings)
        keeper = keeper_of(settings, evidence, observer) if evidence is not None else None
        loop = await asyncio.to_thread(loop_of, settings, engine, evidence, observer)
        drift = await drift_of(settings, engine, observer)
        self._api.backend = backend_of(settings, loop, evidence)
        told_of_cameras = camera_events_of(settings, observer)
        self._cameras.board.events += [told.put for told in told_of_cameras]
        heart = self._watchdog.heartbeat(CONSUMER)
        return Pipeline(
            sources=[
                *kafka_sources(settings, observer, ledger, self._conditions.present, heart),
                *self._cameras.open(settings),
            ],
            engine=engine,
            ledger=ledger,
            sinks=sinks,
            limits=settings.limits.to_config(),
            recipes=settings.recipe_configs(),
            observer=observer,
            listeners=[part for part in (self._conditions, keeper, drift, loop) if part is not None],
            maps="rejects" if keeper is not None else "none",
            side_tasks=[*(part for part in (keeper, loop, drift) if part is not None), *told_of_cameras],
            urgent=self._conditions.present,
            trial_engine=trial_engine_of(settings),
            heart=self._watchdog.heartbeat(ENGINE),
        )

    def _told_to_reopen(self) -> None:
        """SIGHUP: logs and results go on in new files where the old ones were renamed; a lost terminal ends all."""
        if self._on_terminal:
            self._told_to_stop("SIGHUP")
            return
        task = asyncio.create_task(self._reopen())
        self._reopening.add(task)
        task.add_done_callback(self._reopening.discard)

    async def _reopen(self) -> None:
        await asyncio.to_thread(reopen)
        for sink in self._files:
            await sink.reopen()
        log.info("files reopened", signal="SIGHUP")
        if self._reloading is not None and self._pipeline is not None:
            await self._reloading.reload()

    async def _change(self, settings: Settings, change: SettingsChange) -> None:
        """Take other settings, of which only live cameras differ."""
        if self._pipeline is None:
            return
        _know_secrets(self._redactor, settings)
        await self._cameras.change(settings, change, self._pipeline)
        self._settings = settings

    def _http_limits(self) -> HttpLimits:
        """Those of the settings, as far as descriptors go: intake needs some, too."""
        wanted = limits_of(self._settings.http)
        possible = connections_possible(wanted.max_connections)
        if possible < wanted.max_connections:
            log.warning("fewer HTTP connections than asked for", at_most=possible, wanted=wanted.max_connections)
        return replace(wanted, max_connections=possible)

    def _told_to_stop(self, name: str) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("told again to stop: stopping at once", signal=name)
            end_within(FORCED_EXIT_S, 1)
            if self._pipeline is not None:
                self._pipeline.abort("told twice to stop")
            return
        self._state.say("draining")
        end_within(self._settings.limits.drain_s + FORCED_EXIT_S, 1)
        if self._pipeline is None:
            log.info("told to stop before the start was complete", signal=name)
            if self._starting is not None:
                self._starting.cancel()
            return
        log.info("draining", signal=name, at_most_s=self._settings.limits.drain_s)
        self._draining = asyncio.create_task(self._pipeline.drain(Deadline(self._settings.limits.drain_s)))


class _Settled(Observer):
    """Keeps what was made until the first frame, and mostly lives as long as the process, out of garbage collection.

    The modules of torch alone are half a million objects, and every thread waits while a full collection looks at them:
    a third of a second, in the midst of frames. At the end it is given back: native modules look for what they leave.
    """

    def ready(self, ready: bool) -> None:
        if ready:
            gc.collect()
            gc.freeze()
        else:
            gc.unfreeze()
