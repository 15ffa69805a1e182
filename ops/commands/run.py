"""`patchline run`: the service."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from patchline.ops.commands._options import examples

ENDING_S = 5.0
"""How long the event loop may wait for threads once the service has ended: they may hang in a library."""
RUN_EXAMPLES = examples(
    "patchline run line.yaml",
    "PATCHLINE__KAFKA__BOOTSTRAP=broker:9092 patchline run line.yaml",
)


def run(file: Annotated[Path, typer.Argument(help="Settings file (YAML).", show_default=False)]) -> None:
    """Run the service: frames in; verdicts, alarms and metrics out.

    SIGTERM or Ctrl-C finishes the frames in flight and exits with 0; a second one stops at once, with 1. SIGHUP opens
    log and results files anew, after logrotate, and reads the settings again: live cameras come and go while the others
    go on. So it does whenever the file changes.
    """
    former = _while_starting()
    # Frames are spread over the cores, one on each: products in numpy that spread as well would wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from patchline.ops.service.ending import end_within
        from patchline.ops.service.preflight import require_settings
        from patchline.ops.service.service import run_service

        settings = require_settings(file)
    except BaseException:
        for number, handler in former.items():
            signal.signal(number, handler)
        raise
    try:
        code = run_service(settings, file=file, at_end=partial(end_within, ENDING_S))
    finally:
        _while_ending()
    if code:
        raise typer.Exit(code)


def _while_starting() -> dict[signal.Signals, Any]:
    """Until the service listens to signals, SIGTERM ends the process with 0: nothing has been read yet.

    Returns:
        The handlers that there were.
    """
    return {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: os._exit(0)),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    }


def _while_ending() -> None:
    """Once the service has ended, a signal changes nothing: its default would make a failure of an orderly end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
