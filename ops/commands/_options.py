"""What several commands share: options, examples under them, and results as JSON."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

BankArgument = Annotated[str, typer.Argument(help="Folder of the bank, or a URL such as s3://bucket/bottle.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]


def examples(*lines: str) -> str:
    """Command lines with what they do, as the epilog of `--help`: one paragraph each, as its renderer wants them."""
    return "[bold]Examples[/]\n\n" + "\n\n".join(f"[cyan]{line}[/]" for line in lines)


def print_json(lines: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object a line."""
    import msgspec

    for line in lines:
        typer.echo(msgspec.json.encode(line))


def defects_in_words(ratios: Mapping[str, float | None], most: int = 8) -> str:
    """A line for each of the known defects that lie lowest, to follow a preview: their scores over the threshold."""
    known = sorted((ratio, name) for name, ratio in ratios.items() if ratio is not None)
    lines = [f"\nknown defect {name}: {ratio:.2f} of the threshold" for ratio, name in known[:most]]
    return "".join(lines) + (f"\nand {len(known) - most} more that score higher" if len(known) > most else "")


def plain_console() -> "Console":
    """Standard output by rich, for tables and lines that hold names and paths: `[bold]` and `:key:` in them are
    printed as they are.
    """
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
