"""A bank whose learner is killed at random moments opens at a whole generation, and learns every feedback once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replayed
from tests.chaos.figure import Measured
from tests.chaos.updater import apply
from tests.engine.learning_worlds import new_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `updates`, and about so many `kills` among them."""

    updates: int
    kills: int
    seed: int = 0


SHORT = Sizes(updates=20, kills=6)
LONG = Sizes(updates=200, kills=200)


@dataclass(slots=True)
class _Found:
    kills: int = 0
    again: int = 0
    """Updates that came again though they were stored: killed before they were settled."""
    flaws: list[str] = field(default_factory=list)


def measure(sizes: Sizes) -> list[Measured]:
    """Updates are applied by processes that are killed with SIGKILL; the store is checked whole after every kill."""
    with TemporaryDirectory(prefix="patchline-chaos-") as folder:
        undisturbed = Learner.open(new_store(Path(folder) / "undisturbed"))
        times = [time.monotonic()]
        for number in range(sizes.updates):
            apply(undisturbed, number)
            times.append(time.monotonic())
        update_s = median(after - before for before, after in pairwise(times))
        store = new_store(Path(folder) / "killed")
        found = _killed(store, sizes, update_s)
        applied = Counter(event.feedback_id for event in store.events(store.manifest().generation)[1:])
        expected = {f"feedback-{number}" for number in range(sizes.updates)}
        missing, unknown = len(expected - applied.keys()), len(applied.keys() - expected)
        twice = sum(count > 1 for count in applied.values())
        wrong = [flaw for _, flaw in replayed(store) if flaw is not None]
        same = store.bank().sha256 == undisturbed.bank.sha256
    what = f"{sizes.updates} updates, {found.kills} x kill -9"
    return [
        Measured(
            name=f"a bank whose learner is killed opens at a whole generation; {what}",
            measured=f"{len(found.flaws)} times not{': ' + found.flaws[0] if found.flaws else ''}",
            goal="always: every sum right, the chain whole",
            met=not found.flaws and found.kills >= sizes.kills // 2,
        ),
        Measured(
            name=f"each feedback applied exactly once; {what}",
            measured=f"{missing} missing, {twice} twice, {unknown} unknown; "
            f"{found.again} came again after they were stored; "
            f"{'the same bank as' if same else 'ANOTHER BANK than'} without kills, "
            f"{len(wrong)} generations that a replay does not give",
            goal="every feedback once, and the bank as if nobody had been killed",
            met=applied == Counter(expected) and same and not wrong,
        ),
    ]


def _killed(store: GenerationStore, sizes: Sizes, update_s: float) -> _Found:
    draw, found, settled = random.Random(sizes.seed), _Found(), 0
    # A life is killed within the time of one update, after so many were settled that each has its share. None gets more
    # than twice its share, so that none is through before its end comes, however slow the machine is at times.
    most = max(2, 2 * sizes.updates // sizes.kills)
    command = [sys.executable, "-m", "tests.chaos.updater", store.where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        while settled < sizes.updates:
            doomed = found.kills < sizes.kills
            end = min(settled + most, sizes.updates) if doomed else sizes.updates
            print(settled, end, file=nursery.stdin, flush=True)
            started = nursery.stdout.readline().split()
            lines = iter(nursery.stdout.readline, "ended\n")
            seen: list[str] = []
            if doomed:
                seen = list(islice(lines, draw.randrange(most)))
                time.sleep(draw.uniform(0, update_s))
                with suppress(ProcessLookupError):  # it had nothing left to do
                    os.kill(int(started[1]), signal.SIGKILL)
                    found.kills += 1
            for line in chain(seen, lines):
                word, number = line.split()
                settled = int(number) + 1
                found.again += word == "known"
            found.flaws += _flaws(store, settled)
        nursery.stdin.close()
    return found


def _flaws(store: GenerationStore, settled: int) -> list[str]:
    """What is wrong with the store, of which so many updates are known to be stored."""
    flaws = [flaw for _, flaw in store.verify() if flaw is not None]
    numbers = store.generations()
    if numbers != list(range(1, len(numbers) + 1)) or not settled <= len(numbers) - 1 <= settled + 1:
        flaws.append(f"holds generations {numbers}, {settled} updates are settled")
    return flaws
