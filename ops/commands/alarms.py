"""`patchline alarms`: list, acknowledge and watch the alarms in Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from patchline.ops.commands._options import examples, plain_console, say, say_json

if TYPE_CHECKING:
    from patchline.stream.alarms.store import AlarmStore

Answer = TypeVar("Answer")
DEFAULT_URL = "redis://localhost:6379/0"
alarm_commands = typer.Typer(no_args_is_help=True, help="List, acknowledge and watch the alarms in Redis.")
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
    for column in ("camera", "state", "raised", "by frame", "acknowledged by", "last frames"):
        table.add_column(column, overflow="fold")
    for alarm in alarms:
        raised = alarm.raised_at.isoformat(sep=" ", timespec="seconds") if alarm.raised_at else ""
        table.add_row(
            alarm.camera,
            alarm.state.value,
            raised,
            alarm.alarm_id or "",
            alarm.acknowledged_by or "",
            alarm.window,
            style=colours[alarm.state.value],
        )
    plain_console().print(table)


@alarm_commands.command(
    epilog=examples("patchline alarms ack line-1", "patchline alarms ack line-1 --operator 'A. Jansen'")
)
def ack(
    camera: Annotated[str, typer.Argument(help="Camera whose alarm is acknowledged.", show_default=False)],
    operator: Annotated[str | None, typer.Option(help="Who acknowledges.", show_default="the user")] = None,
    redis: Url = None,
    prefix: Prefix = None,
    settings: File = None,
) -> None:
    """Acknowledge a camera's alarm; it clears once its condition is normal as well."""
    import getpass

    from patchline.ops.errors import InputError
    from patchline.stream.alarms.acknowledgements import acknowledge_alarm

    who = operator or getpass.getuser()
    events = _with_store(redis, prefix, settings, lambda store: acknowledge_alarm(store, camera, who))
    if not events:
        raise InputError(
            f"camera {camera!r}: nothing to acknowledge; `patchline alarms list` shows every camera's state"
        )
    for event in events:
        say(f"{event.camera}: {event.change.value} (now {event.state.value})")


@alarm_commands.command(epilog=examples("patchline alarms watch", "patchline alarms watch --json"))
def watch(redis: Url = None, prefix: Prefix = None, settings: File = None, as_json: JsonLines = False) -> None:
    """Print alarm events as they happen, until Ctrl-C."""
    from patchline.stream.wire.alarms import encode_event

    async def follow(store: "AlarmStore") -> None:
        async for event in store.live(lambda: say(f"watching {store.where}, Ctrl-C ends it", err=True)):
            if as_json:
                say_json(encode_event(event).encode())
                continue
            who = f" by {event.operator}" if event.operator else f" by frame {event.frame_id}"
            say(f"{event.time.isoformat(timespec='seconds')}  {event.camera}: {event.change.value}{who}")

    _with_store(redis, prefix, settings, follow)


def _with_store(
    url: str | None, prefix: str | None, file: Path | None, ask: "Callable[[AlarmStore], Awaitable[Answer]]"
) -> Answer:
    """Connect as the options, or the settings file, say; ask; disconnect."""
    from patchline.stream.alarms.config import RedisConfig
    from patchline.stream.alarms.store import AlarmStore

    config = RedisConfig(url=url or DEFAULT_URL, prefix=prefix or RedisConfig().prefix)
    if file is not None:
        from patchline.ops.errors import InputError
        from patchline.ops.settings.file import load_settings

        found = load_settings(file).redis.to_config()
        if found is None:
            raise InputError(f"{file}: redis.url: unset; expected the Redis that holds the alarms")
        config = found

    async def connected() -> Answer:
        store = AlarmStore(config)
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(connected())
