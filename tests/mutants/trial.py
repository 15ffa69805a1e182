"""A mutant is tried: its module's own tests run on a copy of the checkout, until one fails or all have passed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.mutants import witness
from tests.mutants.checkout import Checkout, dotted
from tests.mutants.own_tests import own_tests
from tests.mutants.selection import Mutant
from tests.services.process import dies_with_us

_PATIENCE_S = 20.0
_PATIENCE = 4.0
"""A mutant's tests may take so many times as long as without it, and so many seconds more."""


class Outcome(StrEnum):
    """What became of a mutant."""

    CAUGHT = "caught"
    TIMED_OUT = "timed out"
    SURVIVED = "SURVIVED"
    EQUIVALENT = "equivalent"
    ERROR = "ERROR"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a mutant, after how long, and the test that caught it or what else there is to say."""

    outcome: Outcome
    seconds: float = 0.0
    detail: str = ""


class TrialError(Exception):
    """Whether a mutant is caught cannot be told; the text says why."""


class Tests:
    """Runs test files on copies, each first without a mutant, which must pass and says how long it takes.

    Args:
        deadline_s: by `time.monotonic`, when the last run ends, whatever it has found.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._baselines: dict[Path, float | TrialError] = {}
        self._locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)

    def tried(self, mutant: Mutant, checkout: Checkout) -> Trial:
        """Run a mutant's own tests until one fails."""
        start = time.monotonic()
        imported = False
        try:
            files = own_tests(mutant.module)
            if not files:
                raise TrialError(f"{mutant.module} has no tests of its own: name some in tests/mutants/own_tests.toml")
            for file in files:
                limit_s = _PATIENCE_S + _PATIENCE * self._baseline(file, mutant.module, checkout)
                with checkout.mutated(mutant):
                    run = _run(checkout, mutant.module, file, min(limit_s, self._left_s()))
                if run.timed_out:
                    done = self._left_s() > 0
                    return Trial(Outcome.TIMED_OUT if done else Outcome.NOT_TRIED, time.monotonic() - start, str(file))
                if run.failed:
                    return Trial(Outcome.CAUGHT, time.monotonic() - start, run.failed)
                if not run.passed:
                    raise TrialError(f"{file}: no test ran")
                imported = imported or run.imported
        except TrialError as error:
            if self._left_s() <= 0:
                return Trial(Outcome.NOT_TRIED)
            return Trial(Outcome.ERROR, time.monotonic() - start, str(error))
        detail = ", ".join(map(str, files)) + ("" if imported else ": none of them imports the module")
        return Trial(Outcome.SURVIVED, time.monotonic() - start, detail)

    def _baseline(self, file: Path, module: Path, checkout: Checkout) -> float:
        """How many seconds a file of tests takes without a mutant."""
        with self._locks[file]:
            if file not in self._baselines:
                self._baselines[file] = self._measured(file, module, checkout)
        found = self._baselines[file]
        if isinstance(found, TrialError):
            raise found
        return found

    def _measured(self, file: Path, module: Path, checkout: Checkout) -> float | TrialError:
        if not (checkout.folder / file).is_file():
            return TrialError(f"{file} does not exist")
        start = time.monotonic()
        try:
            run = _run(checkout, module, file, self._left_s())
        except TrialError as error:
            return error
        if run.timed_out:
            return TrialError(f"{file} does not end without a mutant")
        if run.failed or not run.passed:
            return TrialError(f"{file} does not pass without a mutant: {run.failed or 'no test ran'}\n{run.said}")
        return time.monotonic() - start

    def _left_s(self) -> float:
        return max(0.0, self._deadline_s - time.monotonic())


@dataclass(frozen=True, slots=True)
class _Run:
    timed_out: bool = False
    failed: str = ""
    passed: int = 0
    imported: bool = False
    said: str = ""
    """The end of what pytest printed."""


def _run(checkout: Checkout, module: Path, file: Path, limit_s: float) -> _Run:
    """One process of pytest on a file, killed with all that it started when it takes too long.

    Raises:
        TrialError: pytest imports the module from elsewhere, or cannot run.
    """
    temporary = Path(tempfile.mkdtemp(prefix="pm-"))
    told_path = temporary / "told.json"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", witness.__name__, str(file)]
    environment = {
        **checkout.environment(temporary),
        witness.MODULE: dotted(module),
        witness.TOLD: str(told_path),
    }
    try:
        with (temporary / "output.txt").open("w+") as output:
            process = subprocess.Popen(
                dies_with_us(command),
                cwd=checkout.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timed_out = False
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            said = output.read().strip()
        told = json.loads(told_path.read_text()) if told_path.exists() else {}
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = told.get("file")
    if found is None or not Path(found).resolve().is_relative_to(checkout.folder):
        why = told.get("error") or f"imported from {found}: {said[-500:]}"
        raise TrialError(f"{dotted(module)} is not the copy's: {why}")
    if timed_out:
        return _Run(timed_out=True)
    failed = told["failed"] or ""
    if process.returncode != 0 and not failed:  # the tests' own helpers could not be imported, or the process died
        lines = said.splitlines() or [""]
        failed = f"{file} (exit status {process.returncode}: {lines[-1][:200]})"
    if process.returncode == 5:
        failed = ""  # no test was collected, which the number that passed says
    return _Run(False, failed, told["passed"], told["imported"], said[-1000:])
