"""`patchline run`: the service."""

import os
from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.commands._options import examples

RUN_EXAMPLES = examples(
    "patchline run line.yaml",
    "PATCHLINE__KAFKA__BOOTSTRAP=broker:9092 patchline run line.yaml",
)


def run(file: Annotated[Path, typer.Argument(help="Settings file (YAML).", show_default=False)]) -> None:
    """Run the service: frames in; verdicts, alarms and metrics out.

    SIGTERM or Ctrl-C finishes the frames in flight and exits with 0; a second one stops at once, with 1.
    """
    # Frames are spread over the cores, one on each: products in numpy that spread as well would wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from patchline.ops.service.preflight import require_settings
    from patchline.ops.service.service import run_service

    code = run_service(require_settings(file))
    if code:
        raise typer.Exit(code)
