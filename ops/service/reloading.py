"""Settings that change while the service runs: read again, checked whole, then taken or refused as one.

The file is watched; SIGHUP and `POST /-/reload` ask for the same. What is refused changes nothing: the old settings go
on, the log says what was wrong, and a metric that they were refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry
from watchfiles import awatch

from patchline.ops.errors import Problem, SettingsError
from patchline.ops.service.preflight import require_settings
from patchline.ops.service.settings_change import SettingsChange, change_between
from patchline.ops.settings.model import Settings
from patchline.ops.telemetry.worker_metrics import ReloadMetrics
from patchline.ops.web.access import roles
from patchline.stream.model.identity import Role

_MOST_NAMED = 20


class ReloadReport(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of settings that were read again."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why they were refused; empty: they were taken, or nothing differs."""


class Reloading:
    """Reads settings again.

    Args:
        file: the settings file.
        settings: what runs.
        apply: takes other settings, of which only live cameras differ as it is told.
        registry: where metrics are shown.
    """

    def __init__(
        self,
        file: Path,
        settings: Settings,
        apply: Callable[[Settings, SettingsChange], Awaitable[None]],
        registry: CollectorRegistry,
    ) -> None:
        self._file, self._settings, self._apply = file, settings, apply
        self._log = structlog.get_logger("patchline")
        self._one_at_a_time = asyncio.Lock()
        self._refused: tuple[str, ...] = ()
        self._metrics = ReloadMetrics(registry)

    async def reload(self) -> ReloadReport:
        """Read the file again, and take what it says or refuse all of it."""
        async with self._one_at_a_time:
            try:
                settings = await asyncio.to_thread(require_settings, self._file)
            except SettingsError as error:
                return self._refuse([_words(problem) for problem in error.problems])
            change = change_between(self._settings, settings)
            if change.needs_restart:
                return self._refuse([f"{key}: changes only with a start" for key in change.needs_restart])
            self._refused = ()
            self._metrics.good()
            if change.is_empty:
                return ReloadReport()
            await self._apply(settings, change)
            self._settings = settings
            self._metrics.taken()
            report = ReloadReport(added=change.added, changed=change.changed, removed=change.removed)
            self._log.info("settings changed", added=report.added, changed=report.changed, removed=report.removed)
            return report

    def _refuse(self, problems: list[str]) -> ReloadReport:
        named = tuple(problems[:_MOST_NAMED])
        if named != self._refused:  # a file that is written in steps is seen several times
            self._log.error("new settings refused, the old ones go on", file=str(self._file), problems=list(named))
        self._refused = named
        self._metrics.refused()
        return ReloadReport(problems=named)

    async def watch(self) -> None:
        """Read again whenever the file, or what its name leads to, has changed; until cancelled.

        The folder is watched and not the file: editors put another file in its place, and Kubernetes turns the link
        that the file's folder is, whose name begins with two dots. Results and logs may lie in the same folder: what
        else is written there is passed over.
        """
        wanted = _state_of(self._file)
        file = self._file.absolute()

        def matters(_: object, path: str) -> bool:
            return (name := Path(path).name) == file.name or name.startswith("..")

        async for _ in awatch(file.parent, watch_filter=matters, recursive=False, force_polling=None):
            if (found := await asyncio.to_thread(_state_of, self._file)) != wanted:
                wanted = found
                await self.reload()

    def routes(self) -> list[HTTPRouteHandler]:
        """`POST /-/reload`, for engineers."""

        @post("/-/reload", opt=roles(Role.ENGINEER), status_code=200)
        async def reload_settings() -> Response[ReloadReport]:
            """Read the settings file again: 200 with what changed, 409 with what is wrong and nothing changed."""
            report = await self.reload()
            return Response(report, status_code=409 if report.problems else 200)

        return [reload_settings]


def _words(problem: Problem) -> str:
    return str(problem)


def _state_of(file: Path) -> tuple[object, ...]:
    """What changes whenever the file does: where its name leads, and its time and size."""
    try:
        stat = file.stat()
    except OSError as error:
        return (type(error).__name__,)
    return (file.resolve(), stat.st_ino, stat.st_mtime_ns, stat.st_size)
