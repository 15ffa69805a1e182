"""What several commands share: options, examples under them, and results as JSON."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchline.stream.support.printable import one_line

if TYPE_CHECKING:
    from rich.console import Console

BankArgument = Annotated[str, typer.Argument(help="Folder of the bank, or a URL such as s3://bucket/bottle.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]


def examples(*lines: str) -> str:
    """Command lines with what they do, as the epilog of `--help`: one paragraph each, as its renderer wants them."""
    return "[bold]Examples[/]\n\n" + "\n\n".join(f"[cyan]{line}[/]" for line in lines)


def say(text: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print a line, on standard output or, `err`, on standard error; `fg` colours it on a terminal.

    It stays one line whatever names in it hold, and nothing in them reaches a terminal that it would obey. Every
    command prints by this, `say_lines`, `print_json` or `plain_console`.
    """
    typer.secho(one_line(text), err=err, fg=fg)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, whose names hold no newline."""
    for line in text.split("\n"):
        say(line, err=err)


def complain(kind: str, text: str, *, fg: str = "red") -> None:
    """Print `kind: text` on standard error, `kind` in colour."""
    typer.secho(f"{kind}: ", fg=fg, bold=True, nl=False, err=True)
    say(text, err=True)


def say_json(line: bytes) -> None:
    """Print JSON on a line of its own, in UTF-8 whatever the terminal's encoding is."""
    typer.echo(one_line(line.decode()).encode())


def print_json(lines: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object a line; what a terminal would obey is escaped, as JSON may have any character."""
    import msgspec

    for line in lines:
        say_json(msgspec.json.encode(line))


def defects_in_words(ratios: Mapping[str, float | None], most: int = 8) -> str:
    """A line for each of the known defects that lie lowest, to follow a preview: their scores over the threshold."""
    known = sorted((ratio, name) for name, ratio in ratios.items() if ratio is not None)
    lines = [f"\nknown defect {name}: {ratio:.2f} of the threshold" for ratio, name in known[:most]]
    return "".join(lines) + (f"\nand {len(known) - most} more that score higher" if len(known) > most else "")


def plain_console() -> "Console":
    """Standard output by rich, for tables and lines that hold names and paths.

    `[bold]` and `:key:` in them are printed as they are; controls and newlines are escaped. A text of our own that has
    lines is given as rich's `Text`.
    """
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(one_line(text), **options)

    return PlainConsole(highlight=False, markup=False, emoji=False)
