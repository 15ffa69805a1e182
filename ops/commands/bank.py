"""`patchline bank`: look into a bank's chain of generations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from patchline.ops.commands import bank_changes
from patchline.ops.commands._options import AsJson, BankArgument, examples, plain_console, print_json, say

if TYPE_CHECKING:
    from patchline.engine.bank.reader import GenerationReader

bank_commands = typer.Typer(
    no_args_is_help=True, help="Look into a bank's generations, go back, unlearn, verify and export."
)


@bank_commands.command(
    "log", epilog=examples("patchline bank log banks/bottle", "patchline bank log s3://banks/bottle --json")
)
def show_log(
    bank: BankArgument,
    newest: Annotated[int | None, typer.Option(min=1, help="Only so many of the last.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every generation: who made it, when, what it did and why; one JSON object a line with --json."""
    from patchline.ops.commands._generations import history

    lines = history(_reader(bank), newest)
    if as_json:
        print_json(lines)
        return
    _print_table(
        ("generation", "when", "who", "what", "reason", "rows", "threshold"),
        (
            (
                str(found["generation"]),
                found["time"],
                found["operator"],
                found["what"],
                found["reason"],
                f"{found['rows']:,} ({found['rows_more']:+,})" if found["generation"] > 1 else f"{found['rows']:,}",
                f"{found['threshold']:.6g}",
            )
            for found in lines
        ),
    )


@bank_commands.command(
    "show", epilog=examples("patchline bank show banks/bottle", "patchline bank show banks/bottle 4 --json")
)
def show_generation(
    bank: BankArgument,
    generation: Annotated[int | None, typer.Argument(help="Its number.", show_default="the newest")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one generation: what it is, what made it, what it promises, and which frames it knows."""
    from patchline.engine.bank.events import chain_of
    from patchline.engine.errors import BankFileError
    from patchline.engine.learning.known_defects import defect_ratios
    from patchline.ops.commands._generations import chosen, line, what

    reader = _reader(bank)
    manifest = reader.manifest(generation)
    known = chain_of(reader.events(manifest.generation))
    waiting = {name: held.held for name, held in known.held.items()}
    ratios, not_scored = {}, ""
    try:
        ratios = defect_ratios(reader, manifest.generation)
    except BankFileError as error:  # the rest can be shown all the same
        not_scored = f"; not scored: {error}"
    if as_json:
        import msgspec

        whole = msgspec.to_builtins(manifest)
        chained = {"learned": list(known.frames), "known_defects": list(known.defects), "held": waiting}
        chained |= {"defect_ratios": ratios}
        print_json([line(manifest) | chained | {"manifest": whole}])
        return
    event, scale = manifest.event, manifest.scale
    who = " ".join(part for part in (event.operator, event.time or manifest.created) if part)
    rows = [
        ("bank", f"{reader.where}, generation {manifest.generation} of recipe {manifest.recipe.name}"),
        ("SHA-256", manifest.sha256),
        ("made by", what(event) + (f" ({who})" if who else "")),
        ("reason", event.reason or "none given"),
        ("rows", f"{manifest.rows:,} of {manifest.dimensions} values each"),
        ("radius", f"{manifest.covering_radius:.4g}: every good patch seen lies within it of a row"),
        ("threshold", f"{manifest.threshold:.6g}: a frame that scores above it is rejected"),
        ("promise", manifest.promise),
        ("precision", manifest.recipe.backbone.precision),
        ("learned", f"{len(known.frames)} frames" + _names(list(known.frames))),
        ("known defects", f"{len(known.defects)}" + _names(_scored(known.defects, ratios)) + not_scored),
        ("held", f"{len(waiting)}" + _names([f"{name} ({why})" for name, why in waiting.items()])),
        ("files", f"{manifest.tensors}, {manifest.tensors_bytes:,} bytes: " + _content(manifest.whole)),
    ]
    if (choice := known.chosen) is not None:
        why = f": {choice.reason}" if choice.reason else ""
        rows.insert(7, ("chosen", f"{chosen(choice)} ({choice.operator} {choice.time}){why}"))
    if (learning := manifest.learning) is not None:
        radius = learning.sq_admission**0.5 * scale
        rows.insert(6, ("learning", f"adds patches farther than {radius:.4g}; keeps {learning.budget:,} rows at most"))
    _print_table((), rows)


@bank_commands.command(
    epilog=examples("patchline bank diff banks/bottle 3 7", "patchline bank diff banks/bottle 3 7 --json")
)
def diff(
    bank: BankArgument,
    before: Annotated[int, typer.Argument(help="The one generation.", show_default=False)],
    after: Annotated[int, typer.Argument(help="The other.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show which rows one generation has and another has not, by the frame that they came from."""
    from patchline.engine.bank.memory_bank import difference

    reader = _reader(bank)
    one, other = reader.bank(before), reader.bank(after)
    changes = difference(one, other)
    if as_json:
        sides = {
            side: {"generation": b.generation, "rows": len(b.rows), "threshold": b.threshold, "sha256": b.sha256}
            for side, b in (("before", one), ("after", other))
        }
        frames = [{"frame": c.frame, "added": c.added, "removed": c.removed} for c in changes]
        print_json([{**sides, "frames": frames}])
        return
    if one.sha256 == other.sha256:
        say(f"generations {before} and {after} are the same bank, SHA-256 {one.sha256}")
        return
    _print_table(
        ("frame", "rows added", "rows removed"),
        [(c.frame, f"{c.added:,}", f"{c.removed:,}") for c in changes],
    )
    added, removed = sum(c.added for c in changes), sum(c.removed for c in changes)
    say(
        f"{added:,} rows added, {removed:,} removed: {len(one.rows):,} -> {len(other.rows):,}; "
        f"threshold {one.threshold:.6g} -> {other.threshold:.6g}"
    )


@bank_commands.command(
    epilog=examples("patchline bank verify banks/bottle", "patchline bank verify s3://banks/bottle --json")
)
def verify(bank: BankArgument, as_json: AsJson = False) -> None:
    """Check every file's SHA-256, the chain, and that the log of events, replayed, gives every generation bit for bit.

    The exit status is 1 where something is wrong.
    """
    from patchline.engine.errors import BankFileError
    from patchline.engine.learning.replay import replay_errors

    reader = _reader(bank)
    if (newest := reader.newest()) is None:
        raise BankFileError(f"{reader.where}: holds no memory bank; expected a folder that `patchline fit` wrote")
    stored = dict(reader.verify())
    stored |= {n: f"{reader.where}: generation {n} is missing" for n in range(1, newest + 1) if n not in stored}
    again = dict(replay_errors(reader)) if not any(stored.values()) else {}
    wrong = {n: flaw or again.get(n) for n, flaw in sorted(stored.items())}
    if as_json:
        print_json({"generation": n, "ok": flaw is None, "error": flaw} for n, flaw in wrong.items())
    else:
        for number, flaw in wrong.items():
            if flaw is not None:
                say(f"generation {number}: {flaw}", fg="red")
        bad = sum(flaw is not None for flaw in wrong.values())
        ok = f"generations 1 to {newest}: every sum is right, the chain is whole, and a replay gives the same banks"
        say(f"{bad} of {len(wrong)} generations are damaged" if bad else ok)
    if any(flaw is not None for flaw in wrong.values()):
        raise typer.Exit(1)


def _reader(bank: str) -> "GenerationReader":
    from patchline.engine.bank.reader import GenerationReader

    return GenerationReader(bank)


def _scored(names: Iterable[str], ratios: Mapping[str, float | None]) -> list[str]:
    """Known defects with their scores over the threshold, the lowest first; those without a ratio at the end."""
    found = sorted((ratios.get(name) is None, ratios.get(name) or 0.0, name) for name in names)
    return [name if without else f"{name} ({ratio:.2f} of the threshold)" for without, ratio, name in found]


def _names(names: Sequence[str], most: int = 8) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ": " + ", ".join(names[:most]) + more


def _content(whole: bool) -> str:
    return "all rows" if whole else "what changed from the generation before"


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(show_header=bool(columns), box=None, pad_edge=False, header_style="bold")
    for column in columns or ("", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    plain_console().print(table)


bank_changes.add_to(bank_commands)
