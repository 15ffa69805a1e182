"""The command `patchline`. Heavy libraries are imported by the commands that need them: `--help` stays quick."""

import atexit
import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from patchline.engine.errors import EngineError, PatchlineError
from patchline.ops.commands import (
    alarms,
    bank,
    bench,
    check,
    confirm,
    demo,
    evaluate,
    fit,
    inspect,
    run,
    settings,
)
from patchline.ops.commands._options import complain, say
from patchline.ops.commands.cameras.references import camera_commands
from patchline.ops.errors import InputError, OpsError
from patchline.ops.service.ending import end_within
from patchline.stream.support.redaction import redact_text

CLOSING_S = 5.0
"""How long whatever registered itself for the end of the process may take."""


class Commands(TyperGroup):
    """Turns the errors that Patchline raises on purpose into one message and an exit code: no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Exit with 2 where the input is at fault, 1 where the run failed, 130 where it was interrupted."""
        try:
            return super().invoke(ctx)
        except (OpsError, PatchlineError) as error:
            for line in redact_text(str(error)).splitlines():
                complain("error", line)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            say("interrupted", err=True)
            ctx.exit(130)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            say(f"error: {error.filename or 'output'}: cannot be written: {error.strerror}", err=True)
            if error.filename is None:
                _give_up_output()
            ctx.exit(OpsError.exit_code)


def _give_up_output() -> None:
    """Let what standard output still holds go nowhere: at the end the interpreter would fail on it once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def exit_code(error: Exception) -> int:
    """2 where the user can mend it by other input, 1 for failures at run time."""
    if isinstance(error, OpsError):
        return error.exit_code
    # An EngineError names what was given: banks, weights, recipes, images. What breaks at work is a StreamError.
    return InputError.exit_code if isinstance(error, EngineError) else OpsError.exit_code


app = typer.Typer(
    name="patchline",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with [bold]patchline demo[/], or fit a bank to your own good images: [bold]patchline fit GOOD_IMAGES "
    "--out banks/NAME[/]. Every command has [bold]--help[/] with examples.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"patchline {version('patchline')}")
        raise typer.Exit


@app.callback()
def patchline(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Inspects parts by camera: learns what good ones look like, finds what differs, and says why."""


app.command(epilog=fit.FIT_EXAMPLES, rich_help_panel="Banks")(fit.fit)
app.command(epilog=inspect.INSPECT_EXAMPLES, rich_help_panel="Banks")(inspect.inspect)
app.command(epilog=evaluate.EVALUATE_EXAMPLES, rich_help_panel="Banks")(evaluate.evaluate)
app.add_typer(bank.bank_commands, name="bank", rich_help_panel="Banks")
app.command(epilog=bench.BENCH_EXAMPLES, rich_help_panel="Banks")(bench.bench)
app.command(epilog=run.RUN_EXAMPLES, rich_help_panel="Service")(run.run)
app.command(epilog=check.CHECK_EXAMPLES, rich_help_panel="Service")(check.check)
app.command(epilog=settings.SETTINGS_EXAMPLES, rich_help_panel="Service")(settings.settings)
app.command(epilog=confirm.CONFIRM_EXAMPLES, rich_help_panel="Service")(confirm.confirm)
app.add_typer(alarms.alarm_commands, name="alarms", rich_help_panel="Service")
app.add_typer(camera_commands, name="cameras", rich_help_panel="Service")
app.command(epilog=demo.DEMO_EXAMPLES, rich_help_panel="Demonstration")(demo.demo)


def main() -> NoReturn:
    """Entry point of the console script: run the command, and end the process.

    The process ends by `os._exit` once all that was to be written is written. Threads of libraries may be at work in
    native code still, and where the interpreter takes itself apart under them, C++ aborts: a service that had stopped
    in order died of SIGABRT.
    """
    try:
        run_command()
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:  # what the interpreter would do with it
        sys.excepthook(*sys.exc_info())
        code = OpsError.exit_code
    _leave(code)


def _code_of(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    say(str(end.code), err=True)
    return OpsError.exit_code


def _leave(code: int) -> NoReturn:
    """End the process: first whatever registered itself for its end, then what is not yet written."""
    code = _flushed(code)
    end_within(CLOSING_S, code)
    with suppress(BaseException):  # each prints what went wrong; nothing keeps a process from ending
        atexit._run_exitfuncs()
    os._exit(_flushed(code))


def _flushed(code: int) -> int:
    """The exit status once standard output and error are written: a failure where they cannot be."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or OpsError.exit_code
    return code


def run_command() -> None:
    """Run the command; raises SystemExit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not know, or that is no UTF-8, is escaped: no output fails for it.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
