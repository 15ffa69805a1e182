"""`patchline bank rollback | unlearn | age | threshold | export`: make another generation, here or elsewhere.

A service may run on the bank meanwhile: whichever writer creates a generation first wins, and what is asked here is
then proposed anew over it. Workers look for generations that they were not told of, and follow.
"""

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchline.ops.commands._options import AsJson, BankArgument, defects_in_words, examples, print_json, say, say_lines
from patchline.ops.errors import InputError, OpsError

if TYPE_CHECKING:
    from patchline.engine.bank.memory_bank import MemoryBank
    from patchline.engine.learning.learner import Learner
    from patchline.engine.learning.requests import Proposal

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
            "patchline bank threshold banks/bottle --false-reject-rate 0.02 --reason 'too many stops'",
            "patchline bank threshold banks/bottle --value 24.9 --dry-run",
            "patchline bank threshold banks/bottle --f1 evaluation/evaluation.json",
        )
    )(threshold)
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
        learns=False,
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


def threshold(
    bank: BankArgument,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(help="Share of good frames to reject; the threshold follows the bank at it.", show_default=False),
    ] = None,
    value: Annotated[
        float | None, typer.Option(help="The threshold itself; it no longer follows the bank.", show_default=False)
    ] = None,
    f1: Annotated[
        Path | None,
        typer.Option(
            help="evaluation.json whose best F1 gives the value.", metavar="FILE", dir_okay=False, show_default=False
        ),
    ] = None,
    operator: OperatorName = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Choose the threshold: by the false-reject rate that it aims at, by its value, or by the best F1 on a test set.

    A rate is kept through all that the bank learns. A value stays until another threshold is chosen, and promises
    nothing.
    """
    if sum(choice is not None for choice in (false_reject_rate, value, f1)) != 1:
        raise InputError("expected one of --false-reject-rate, --value and --f1")
    if false_reject_rate is not None and not 0 < false_reject_rate < 1:
        raise InputError(f"--false-reject-rate: {false_reject_rate:g}; expected above 0 and below 1, such as 0.05")
    if value is not None and not 0 < value < inf:
        raise InputError(f"--value: {value:g}; expected a score above 0, such as 24.9")

    from patchline.engine.bank.reader import GenerationReader
    from patchline.engine.learning.requests import ThresholdChoice
    from patchline.ops.offline.best_f1 import best_threshold, read_best_f1

    best = None if f1 is None else read_best_f1(f1)

    def propose(learner: "Learner", asked: dict[str, Any]) -> Iterator[None]:
        if best is None or f1 is None:
            return learner.choose_threshold(ThresholdChoice(rate=false_reject_rate, value=value, **asked))
        found, sha256 = best
        chosen = best_threshold(found, f1, GenerationReader(bank), learner.bank)
        return learner.choose_threshold(ThresholdChoice(value=chosen, evaluation_sha256=sha256, **asked))

    _change(bank, propose, _by(operator, reason), dry_run=dry_run, as_json=as_json, learns=False)


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
    say(f"{out}: generation {number} of {reader.where}, {len(written.rows):,} rows, SHA-256 {written.sha256}")


def _change(
    bank: str,
    propose: "Callable[[Learner, dict[str, Any]], Iterator[None]]",
    asked: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
    learns: bool = True,
) -> None:
    """Propose, show, and write the next generation; anew where another writer was first."""
    from patchline.engine.bank.store import GenerationStore
    from patchline.engine.errors import GenerationConflictError
    from patchline.engine.learning.learner import Learner

    learner = Learner.open(GenerationStore(bank), learns=learns)
    for _ in range(ATTEMPTS):
        for _ in propose(learner, asked):
            pass
        proposal, before = learner.proposal, learner.bank
        assert proposal is not None  # noqa: S101 - the steps have ended
        try:
            made = None if dry_run else learner.commit()
        except GenerationConflictError:
            learner = learner.reopen()
            continue
        _tell(before, proposal, None if made is None else made.generation, as_json=as_json)
        return
    raise OpsError(f"{bank}: other writers were first {ATTEMPTS} times; expected a pause between their generations")


def _tell(before: "MemoryBank", proposal: "Proposal", written: int | None, *, as_json: bool) -> None:
    """What a change does, and which known defects it lets pass: that is said of JSON too, beside it."""
    effects, after = proposal.preview, proposal.bank
    if effects.hidden:
        names = ", ".join(effects.hidden)
        told = f"{len(effects.hidden)} of {effects.defects} known defects are rejected now and would pass: {names}"
        say(f"warning: {told}", fg="red", err=True)
    if as_json:
        print_json(
            [
                {
                    "generation": written,
                    "sha256": after.sha256,
                    "rows": len(after.rows),
                    "rows_added": effects.rows_added,
                    "rows_removed": effects.rows_removed,
                    "threshold_before": effects.threshold_before,
                    "threshold_after": effects.threshold_after,
                    "false_reject_rate_before": before.calibration.false_reject_rate,
                    "false_reject_rate_after": after.calibration.false_reject_rate,
                    "threshold_follows": not after.calibration.fixed,
                    "promise": after.promise,
                    "cleared": effects.cleared,
                    "hidden": effects.hidden,
                    "caught": effects.caught,
                    "missed": effects.missed,
                    "defect_ratios": effects.defect_ratios,
                }
            ]
        )
        return
    say_lines(str(effects) + defects_in_words(effects.defect_ratios))
    if before.promise != after.promise:
        say_lines(f"before: {before.promise}\nafter: {after.promise}")
    if after.calibration.fixed and not before.calibration.fixed:
        say("the threshold no longer follows the bank: it stays, whatever is learned, until another is chosen")
    if len(effects.missed) > len(effects.hidden):
        others = ", ".join(name for name in effects.missed if name not in effects.hidden)
        say(f"known defects that pass now, and would: {others}")
    say(f"generation {written} is written" if written is not None else "nothing is written")


def _by(operator: str | None, reason: str) -> dict[str, Any]:
    import getpass
    import uuid
    from datetime import UTC, datetime

    from patchline.stream.model.feedback import check_name, check_reason

    who = operator or getpass.getuser()
    try:
        check_name("--operator", who)
        check_reason(reason)
    except ValueError as error:
        raise InputError(str(error)) from error
    return {
        "feedback_id": uuid.uuid4().hex,
        "operator": who,
        "reason": reason,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
