"""`patchline cameras reset`: a camera's pictures are learned anew."""

from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.commands._options import examples, say
from patchline.ops.errors import InputError

camera_commands = typer.Typer(no_args_is_help=True, help="The cameras that the service opens itself.")


@camera_commands.command(epilog=examples("patchline cameras reset line-1 --settings line.yaml"))
def reset(
    camera: Annotated[str, typer.Argument(help="Name of the camera in the settings.")],
    settings: Annotated[Path, typer.Option("--settings", help="Settings file of the service.", show_default=False)],
) -> None:
    """Forget what the camera's first hour has shown; a running service learns it anew within seconds.

    Do so once its lens, lamp, place or size is as it shall be from now on.
    """
    from patchline.ops.settings.file import load_settings
    from patchline.stream.cameras.health.reference_files import ReferenceFiles

    loaded = load_settings(settings)
    known = sorted(loaded.health_configs())
    if camera not in known:
        expected = ", ".join(known) or "none"
        raise InputError(f"camera {camera!r} is not one whose pictures are looked at, expected one of: {expected}")
    files = ReferenceFiles(loaded.health.folder)
    if files.reset(camera):
        say(f"{camera}: forgotten; it is learned anew for {loaded.health.first_hour_s:,.0f} s of motion")
    else:
        say(f"{camera}: nothing was learned of it in {loaded.health.folder}")
