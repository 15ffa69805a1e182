"""`patchline bank rollback | unlearn | age | export`: make another generation, here or elsewhere.

A service may run on the bank meanwhile: whichever writer creates a generation first wins, and what is asked here is
then proposed anew over it. Workers look for generations that they were not told of, and follow.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchline.ops.commands._options import AsJson, BankArgument, defects_in_words, examples, print_json
from patchline.ops.errors import InputError, OpsError

if TYPE_CHECKING:
    from patchline.engine.learning.learner import Learner

ATTEMPTS = 20
"""Times that another writer may be first."""
OperatorName = Annotated[str | None, typer.Option(help="Who asks for it.", show_default="the user")]
Reason = Annotated[str, typer.Option(help="Why.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to those that only look."""
    app.command(epilog=examples("patchline bank rollback banks/bottle 4 --reason 'wrong lamp'"))(rollback)
    app.command(epilog=examples("patchline bank unlearn banks/bottle line-3/000042 --operator ada"))(unlearn)
    app.command(epilog=examples("patchline bank age banks/bottle --dry-run"))(age)
    app.command(
        epilog=examples(
            "patchline bank export banks/bottle exports/bottle",
            "patchline bank export banks/bottle s3://banks/bottle --generation 4",
        )
    )(export)


def rollback(
    bank: BankArgument,
    generation: Annotated[int, typer.Argument(help="The generation to go back to.", show_default=False)],
    operator: OperatorName = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a new generation that equals an earlier one in rows and threshold; known defects stay known."""
    from patchline.engine.learning.requests import Rollback

    _change(
        bank,
        lambda learner, asked: learner.rollback(Rollback(generation=generation, **asked)),
        _by(operator, reason),
        dry_run=dry_run,
        as_json=as_json,
    )


def unlearn(
    bank: BankArgument,
    frame: Annotated[str, typer.Argument(help="Id of the frame.", show_default=False)],
    operator: OperatorName = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the bank that never saw a confirmed frame: the log of events, replayed without it."""
    from patchline.engine.learning.requests import Unlearning

    _change(
        bank,
        lambda learner, asked: learner.unlearn(Unlearning(frame=frame, **asked)),
        _by(operator, reason),
        dry_run=dry_run,
        as_json=as_json,
    )


def age(
    bank: BankArgument,
    unused_days: Annotated[
        int | None, typer.Option(min=1, help="Days of inspection without use.", show_default="the recipe's")
    ] = None,
    operator: OperatorName = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let rows go that no frame has used lately, as workers of a recipe with `--unused-days` have noted it."""
    from datetime import UTC, datetime

    from patchline.engine.bank.usage_log import UsageLog
    from patchline.engine.learning.requests import Ageing

    asked = _by(operator, reason)

    def propose(learner: "Learner", asked: dict[str, Any]) -> Iterator[None]:
        days = unused_days or learner.bank.recipe.unused_days
        if days is None:
            raise InputError(f"{bank}: its recipe lets no row age; expected --unused-days")
        usage = UsageLog(bank).read()
        today = datetime.now(UTC).date().isoformat()
        rows = learner.unused(usage, days=days, today=today)
        if not rows:
            over = sum(day < today for day in usage)
            raise InputError(
                f"{bank}: no row may leave: found use noted on {over} whole days, none older than {days} of them is "
                f"without use; expected rows unused on {days} days of inspection"
            )
        return learner.age(Ageing(rows=rows, **asked))

    _change(bank, propose, asked, dry_run=dry_run, as_json=as_json)


def export(
    bank: BankArgument,
    out: Annotated[str, typer.Argument(help="New folder or URL for the exported bank.", show_default=False)],
    generation: Annotated[int | None, typer.Option(help="Which generation.", show_default="the newest")] = None,
    operator: OperatorName = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Write one generation as a bank of its own, with its calibration frames and known defects.

    It judges alike and can learn on; its confirmed frames count as part of its fit, and cannot be unlearned there.
    """
    from patchline.engine.bank.export import export as export_bank
    from patchline.engine.bank.reader import GenerationReader

    reader = GenerationReader(bank)
    number = reader.manifest(generation).generation
    asked = _by(operator, reason)
    written = export_bank(
        reader, number, out, operator=asked["operator"], time=asked["time"], reason=asked["reason"]
    ).bank()
    if as_json:
        print_json([{"out": out, "of_generation": number, "rows": len(written.rows), "sha256": written.sha256}])
        return
    typer.echo(f"{out}: generation {number} of {reader.where}, {len(written.rows):,} rows, SHA-256 {written.sha256}")


def _change(
    bank: str,
    propose: "Callable[[Learner, dict[str, Any]], Iterator[None]]",
    asked: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Propose, show, and write the next generation; anew where another writer was first."""
    from patchline.engine.bank.store import GenerationStore
    from patchline.engine.errors import GenerationConflictError
    from patchline.engine.learning.learner import Learner

    learner = Learner.open(GenerationStore(bank))
    for _ in range(ATTEMPTS):
        for _ in propose(learner, asked):
            pass
        proposal = learner.proposal
        assert proposal is not None  # noqa: S101 - the steps have ended
        try:
            made = None if dry_run else learner.commit()
        except GenerationConflictError:
            learner = learner.reopen()
            continue
        effects = proposal.preview
        if as_json:
            print_json(
                [
                    {
                        "generation": made.generation if made is not None else None,
                        "sha256": proposal.bank.sha256,
                        "rows": len(proposal.bank.rows),
                        "rows_added": effects.rows_added,
                        "rows_removed": effects.rows_removed,
                        "threshold_before": effects.threshold_before,
                        "threshold_after": effects.threshold_after,
                        "cleared": effects.cleared,
                        "hidden": effects.hidden,
                        "defect_ratios": effects.defect_ratios,
                    }
                ]
            )
            return
        typer.echo(str(effects) + defects_in_words(effects.defect_ratios))
        typer.echo(f"generation {made.generation} is written" if made is not None else "nothing is written")
        return
    raise OpsError(f"{bank}: other writers were first {ATTEMPTS} times; expected a pause between their generations")


def _by(operator: str | None, reason: str) -> dict[str, Any]:
    import getpass
    import uuid
    from datetime import UTC, datetime

    return {
        "feedback_id": uuid.uuid4().hex,
        "operator": operator or getpass.getuser(),
        "reason": reason,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
