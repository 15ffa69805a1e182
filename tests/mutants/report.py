"""What a run of mutants says: a line for each, a summary, and `build/mutants.json`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.accepted import Accepted, entry
from tests.mutants.selection import Mutant
from tests.mutants.trial import Outcome, Trial


class Report:
    """The mutants of a run in their order, what became of each, and whether that is as it should be.

    Args:
        allowed: what may survive.
        complete: mutants that were not tried count as a failure.
    """

    def __init__(
        self, mutants: Sequence[Mutant], allowed: Sequence[Accepted], path: Path, *, complete: bool, how: str
    ) -> None:
        self._mutants = mutants
        self._allowed = allowed
        self._path = path
        self._complete = complete
        self._how = how
        self._trials = [Trial(Outcome.NOT_TRIED) for _ in mutants]
        self._write()

    def add(self, number: int, trial: Trial) -> None:
        """Print what became of a mutant, and note it."""
        self._trials[number] = trial
        mutant = self._mutants[number]
        why = self._why(mutant)
        told = trial.detail if why is None else f"{trial.detail} (accepted: {why})".strip()
        print(f"{trial.outcome:10} {trial.seconds:5.0f} s  {mutant}", flush=True)
        if told:
            print(f"{'':19}{told}", flush=True)
        self._write()

    def ended(self, seconds: float) -> int:
        """Print the summary; the exit status is 1 where something is not as it should be."""
        counts = Counter(trial.outcome for trial in self._trials)
        pairs = list(zip(self._mutants, self._trials, strict=True))
        survived = [mutant for mutant, trial in pairs if trial.outcome is Outcome.SURVIVED]
        unexplained = [mutant for mutant in survived if self._why(mutant) is None]
        if unexplained:
            print("\nSurvived, and no entry of tests/mutants/accepted.toml says why it may:\n")
            print("\n\n".join(entry(mutant.module, mutant.place) for mutant in unexplained))
        for mutant, trial in pairs:
            if trial.outcome in (Outcome.CAUGHT, Outcome.TIMED_OUT) and self._why(mutant) is not None:
                print(f"\nCaught, so its entry of tests/mutants/accepted.toml can go: {mutant}")
        counted = len(pairs) - counts[Outcome.EQUIVALENT]
        told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        print(f"\n{counted} mutants in {seconds / 60:.1f} min: {told or 'none'} ({self._path})")
        missing = self._complete and counts[Outcome.NOT_TRIED]
        return 1 if unexplained or counts[Outcome.ERROR] or missing else 0

    def _why(self, mutant: Mutant) -> str | None:
        found = (each.why for each in self._allowed if each.matches(mutant.module, mutant.place))
        return next(found, None)

    def _write(self) -> None:
        rows = [
            {
                "module": str(mutant.module),
                "line": mutant.place.line,
                "function": mutant.place.function,
                "kind": mutant.place.kind,
                "change": mutant.place.change,
                "outcome": trial.outcome,
                "seconds": round(trial.seconds, 1),
                "detail": trial.detail,
                "accepted": self._why(mutant),
            }
            for mutant, trial in zip(self._mutants, self._trials, strict=True)
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"how": self._how, "mutants": rows}, indent=1, ensure_ascii=False) + "\n")
