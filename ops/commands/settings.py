"""`patchline settings`: every key of the settings file."""

from typing import Annotated

import typer

from patchline.ops.commands._options import examples, plain_console, say_lines

WIDE = 120
"""Columns from which type and default have columns of their own."""
SETTINGS_EXAMPLES = examples(
    "patchline settings", "patchline settings kafka", "patchline settings --example > line.yaml"
)


def settings(
    section: Annotated[str | None, typer.Argument(help="Only this section.", show_default="all")] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a commented example file instead.")] = False,
) -> None:
    """Print every key with its type, default, environment variable and meaning."""
    from patchline.ops.errors import InputError
    from patchline.ops.settings.reference import example as example_file
    from patchline.ops.settings.reference import rows

    if example:
        say_lines(example_file().removesuffix("\n"))
        return
    everything = rows()
    sections = list(dict.fromkeys(row.key.partition(".")[0] for row in everything))
    if section is not None and section not in sections:
        raise InputError(f"section {section!r}: unknown; expected {', '.join(sections)}")

    from rich.table import Table
    from rich.text import Text

    console = plain_console()
    # A pipe has no width: give every column its room there, so that grep finds whole lines.
    width = console.width if console.is_terminal else 240
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", row_styles=["", "dim"])
    table.add_column("key", no_wrap=True)
    for column in ("type", "default", "meaning, environment variable") if wide else ("meaning",):
        table.add_column(column, overflow="fold")
    for row in everything:
        if section not in (None, row.key.partition(".")[0]):
            continue
        if wide:
            table.add_row(row.key, row.kind, row.default, Text(f"{row.meaning}\n{row.env}"))
        else:
            table.add_row(row.key, Text(f"{row.meaning}\n{row.kind}; default: {row.default}\n{row.env}"))
    console.print(table, width=width)
