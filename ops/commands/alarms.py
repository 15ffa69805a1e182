"""`patchline alarms`: list, acknowledge, shelve and watch the alarms in Redis, and forget cameras."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from patchline.ops.commands._options import examples, plain_console, say, say_json

if TYPE_CHECKING:
    from datetime import timedelta

    from patchline.stream.alarms.config import AlarmLimits, RedisConfig
    from patchline.stream.alarms.store import AlarmStore
    from patchline.stream.model.alarm import Alarm, AlarmEvent

Answer = TypeVar("Answer")
DEFAULT_URL = "redis://localhost:6379/0"
alarm_commands = typer.Typer(no_args_is_help=True, help="List, acknowledge, shelve and watch the alarms in Redis.")
Url = Annotated[
    str | None,
    typer.Option("--redis", envvar="PATCHLINE__REDIS__URL", help="Address of Redis.", show_default=DEFAULT_URL),
]
Prefix = Annotated[
    str | None,
    typer.Option(envvar="PATCHLINE__REDIS__PREFIX", help="Begins every key.", show_default="patchline:"),
]
File = Annotated[Path | None, typer.Option("--settings", help="Settings file to take both from.", show_default=False)]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def _check_camera(camera: str) -> str:
    from patchline.ops.errors import InputError
    from patchline.stream.model.feedback import check_name

    try:
        check_name("camera", camera)
    except ValueError as error:
        raise InputError(str(error)) from error
    return camera


CameraArgument = Annotated[
    str,
    typer.Argument(help="The camera, as `alarms list` names it.", show_default=False, callback=_check_camera),
]
OperatorOption = Annotated[str | None, typer.Option(help="Who says so.", show_default="the user")]


@alarm_commands.command(
    "list", epilog=examples("patchline alarms list", "patchline alarms list --settings line.yaml --json")
)
def list_alarms(redis: Url = None, prefix: Prefix = None, settings: File = None, as_json: JsonLines = False) -> None:
    """Show every camera's alarm, those that need a person first."""
    from dataclasses import asdict

    import msgspec

    stored = _with_store(redis, prefix, settings, lambda store: store.all())
    order = ("unacknowledged", "returned", "acknowledged", "normal")
    alarms = sorted((s.alarm for s in stored), key=lambda alarm: (order.index(alarm.state), alarm.camera))
    if as_json:
        for alarm in alarms:
            say_json(msgspec.json.encode(asdict(alarm)))
        return
    if not alarms:
        say("no camera has had an alarm or a judged frame yet")
        return

    from rich.table import Table

    colours = {"unacknowledged": "bold red", "returned": "yellow", "acknowledged": "magenta", "normal": "dim"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("camera", "state", "raised", "by frame", "acknowledged by", "shelved", "last frames"):
        table.add_column(column, overflow="fold")
    for alarm in alarms:
        raised = alarm.raised_at.isoformat(sep=" ", timespec="seconds") if alarm.raised_at else ""
        table.add_row(
            alarm.camera,
            alarm.state.value,
            raised,
            alarm.alarm_id or "",
            alarm.acknowledged_by or "",
            _shelf(alarm),
            alarm.window,
            style="dim" if alarm.shelved else colours[alarm.state.value],
        )
    plain_console().print(table)


@alarm_commands.command(
    epilog=examples("patchline alarms ack line-1", "patchline alarms ack line-1 --operator 'A. Jansen'")
)
def ack(
    camera: CameraArgument,
    operator: OperatorOption = None,
    redis: Url = None,
    prefix: Prefix = None,
    settings: File = None,
) -> None:
    """Acknowledge a camera's alarm; it clears once its condition is normal as well."""
    from patchline.stream.alarms.acknowledgements import acknowledge_alarm

    who = _person(operator)
    _say_events(
        _with_store(redis, prefix, settings, lambda store: acknowledge_alarm(store, camera, who)),
        f"camera {camera!r}: nothing to acknowledge; `patchline alarms list` shows every camera's state",
    )


@alarm_commands.command(
    epilog=examples(
        "patchline alarms shelve line-1 --for 30m --reason 'lamp is changed'",
        "patchline alarms shelve line-1 --for 4h --settings line.yaml",
    )
)
def shelve(
    camera: CameraArgument,
    duration: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 4h or 1h30m.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    operator: OperatorOption = None,
    redis: Url = None,
    prefix: Prefix = None,
    settings: File = None,
) -> None:
    """Keep a camera's alarm quiet for a while; it is tracked meanwhile, and comes back by itself.

    `alarms.longest_shelf_s` bounds the time. Shelve it again to change how long.
    """
    from patchline.ops.errors import InputError
    from patchline.stream.alarms.shelf import shelve_alarm
    from patchline.stream.model.errors import ConfigError
    from patchline.stream.model.feedback import check_reason

    who, how_long = _person(operator), duration_of(duration)
    limits = _redis_of(redis, prefix, settings)[1]
    try:
        check_reason(reason)
        events = _with_store(
            redis, prefix, settings, lambda store: shelve_alarm(store, limits, camera, how_long, who, reason)
        )
    except (ConfigError, ValueError) as error:
        raise InputError(f"camera {camera!r}: {error}") from error
    _say_events(events, f"camera {camera!r}: not known; `patchline alarms list` shows every camera")


@alarm_commands.command(epilog=examples("patchline alarms unshelve line-1"))
def unshelve(
    camera: CameraArgument,
    operator: OperatorOption = None,
    redis: Url = None,
    prefix: Prefix = None,
    settings: File = None,
) -> None:
    """Take a camera's alarm from the shelf before its time is over."""
    from patchline.stream.alarms.shelf import unshelve_alarm

    who = _person(operator)
    _say_events(
        _with_store(redis, prefix, settings, lambda store: unshelve_alarm(store, camera, who)),
        f"camera {camera!r}: not shelved; `patchline alarms list` shows every camera's state",
    )


@alarm_commands.command(epilog=examples("patchline alarms forget line-1"))
def forget(
    camera: CameraArgument,
    operator: OperatorOption = None,
    redis: Url = None,
    prefix: Prefix = None,
    settings: File = None,
) -> None:
    """Remove a camera that is no more: its state, its key and its place among `alarms.max_cameras`.

    One that sends frames afterwards begins anew.
    """
    from patchline.stream.alarms.shelf import forget_camera

    who = _person(operator)
    event = _with_store(redis, prefix, settings, lambda store: forget_camera(store, camera, who))
    _say_events(
        (event,) if event is not None else (),
        f"camera {camera!r}: not known; `patchline alarms list` shows every camera",
    )


@alarm_commands.command(epilog=examples("patchline alarms watch", "patchline alarms watch --json"))
def watch(redis: Url = None, prefix: Prefix = None, settings: File = None, as_json: JsonLines = False) -> None:
    """Print alarm events as they happen, until Ctrl-C."""
    from patchline.stream.wire.alarms import encode_event

    async def follow(store: "AlarmStore") -> None:
        async for event in store.live(lambda: say(f"watching {store.where}, Ctrl-C ends it", err=True)):
            if as_json:
                say_json(encode_event(event).encode())
                continue
            say(f"{event.time.isoformat(timespec='seconds')}  {event.camera}: {event.change.value}{_brought_by(event)}")

    _with_store(redis, prefix, settings, follow)


def _brought_by(event: "AlarmEvent") -> str:
    """Who or what brought an event, and of one that is shelved until when and why."""
    if event.operator is None:
        return f" by frame {event.frame_id}" if event.frame_id is not None else ": its time is over"
    until = f" until {event.until.isoformat(timespec='seconds')}" if event.until else ""
    return f" by {event.operator}{until}{f': {event.reason}' if event.reason else ''}"


def duration_of(text: str) -> "timedelta":
    """How long `1h30m` is: hours, minutes and seconds, each once at most.

    Raises:
        InputError: names what was found and what was expected.
    """
    from datetime import timedelta

    from patchline.ops.errors import InputError

    match = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", text, re.ASCII)
    if not text or match is None:
        raise InputError(f"--for {text[:40]!r}: expected a time such as 90s, 30m, 4h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _person(operator: str | None) -> str:
    import getpass

    from patchline.ops.errors import InputError
    from patchline.stream.model.feedback import check_name

    who = operator or getpass.getuser()
    try:
        check_name("operator", who)
    except ValueError as error:
        raise InputError(str(error)) from error
    return who


def _say_events(events: "Sequence[AlarmEvent]", otherwise: str) -> None:
    from patchline.ops.errors import InputError

    if not events:
        raise InputError(otherwise)
    for event in events:
        until = f" until {event.until.isoformat(sep=' ', timespec='seconds')}" if event.until else ""
        say(f"{event.camera}: {event.change.value}{until} (now {event.state.value})")


def _shelf(alarm: "Alarm") -> str:
    """`until 2026-01-01 12:00:00+00:00 by ada: lamp is changed`; empty where it is not shelved."""
    if alarm.shelved_until is None:
        return ""
    why = f": {alarm.shelved_reason}" if alarm.shelved_reason else ""
    return f"until {alarm.shelved_until.isoformat(sep=' ', timespec='seconds')} by {alarm.shelved_by or '?'}{why}"


def _redis_of(url: str | None, prefix: str | None, file: Path | None) -> "tuple[RedisConfig, AlarmLimits]":
    """Where Redis is and what alarms may be, as the options or the settings file say."""
    from patchline.ops.errors import InputError
    from patchline.stream.alarms.config import AlarmLimits, RedisConfig

    if file is None:
        from patchline.ops.settings.formats import check_redis_url
        from patchline.ops.settings.secrets import SecretUrl

        try:
            check_redis_url(SecretUrl(url or DEFAULT_URL))
        except ValueError as error:
            raise InputError(f"--redis: expected {error}") from error
        return RedisConfig(url=url or DEFAULT_URL, prefix=prefix or RedisConfig().prefix), AlarmLimits()

    from patchline.ops.settings.file import load_settings

    settings = load_settings(file)
    found = settings.redis.to_config()
    if found is None:
        raise InputError(f"{file}: redis.url: unset; expected the Redis that holds the alarms")
    return found, settings.alarms.to_limits(settings.cameras)


def _with_store(
    url: str | None, prefix: str | None, file: Path | None, ask: "Callable[[AlarmStore], Awaitable[Answer]]"
) -> Answer:
    """Connect as the options, or the settings file, say; ask; disconnect."""
    from patchline.stream.alarms.store import AlarmStore
    from patchline.stream.model.observer import Observer

    class Told(Observer):
        def foreign(self, what: object, detail: str) -> None:
            say(f"passed over ({what}): {detail}", err=True)

    config, limits = _redis_of(url, prefix, file)

    async def connected() -> Answer:
        store = AlarmStore(config, limits, Told())
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(connected())
