"""`patchline check`: what is wrong in a settings file, all of it at once."""

from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.commands._options import complain, examples, say

CHECK_EXAMPLES = examples("patchline check line.yaml", "patchline check line.yaml --connect")


def check(
    file: Annotated[Path, typer.Argument(help="Settings file (YAML).", show_default=False)],
    connect: Annotated[
        bool, typer.Option("--connect", help="Also ask the brokers, Redis and cameras whether they answer.")
    ] = False,
) -> None:
    """Check a settings file, and what it names: banks, recipes, folders.

    Prints every problem with its place, what was found and what was expected; exits with 2 where there is one.
    Warnings name what has no effect, or not the one that it seems to have.
    """
    from patchline.ops.service.preflight import check_settings

    report = check_settings(file, connect=connect)
    for warning in report.warnings:
        complain("warning", str(warning), fg="yellow")
    for problem in report.problems:
        complain("error", str(problem))
    if report.problems:
        count = len(report.problems)
        say(f"{file}: {count} problem{'s' if count > 1 else ''}", err=True)
        raise typer.Exit(2)
    for line in report.summary:
        say(line)
    say(f"{file}: ok")
