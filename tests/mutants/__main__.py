"""Mutate modules in one place at a time, and see whether their own tests notice: `python -m tests.mutants`.

Which modules: those that are named; with --draw: the stream, and the engine's scoring, bank and learning; else those
that differ from a commit, changed lines first. A module's tests bear its name or stand in `own_tests.toml`; what may
survive stands in `accepted.toml`.
"""

import argparse
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.mutants import selection
from tests.mutants.accepted import Accepted, accepted
from tests.mutants.checkout import Checkout
from tests.mutants.own_tests import own_tests
from tests.mutants.report import Report
from tests.mutants.selection import Mutant
from tests.mutants.trial import Outcome, Tests, Trial
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY, ServiceUnavailableError
from tests.services.redis import RedisServer

_REPORT = Path("build/mutants.json")
_NAMED = 10
"""So many changed modules are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose, try and tell; the exit status is 1 where a mutant survives that may not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE", help="a file or a folder")
    since = "what changes are counted from (default: HEAD, or where main left its remote, or HEAD~1)"
    parser.add_argument("--base", metavar="COMMIT", help=since)
    parser.add_argument("--draw", type=int, metavar="N", help="draw N mutants, the kinds taking turns")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which mutants are tried (default 1)")
    parser.add_argument("--minutes", type=float, default=60, help="the time for all (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--list", action="store_true", help="say what would be tried, and try nothing")
    options = parser.parse_args(arguments)

    start = time.monotonic()
    base = options.base or selection.base_of_changes()
    drawing = options.draw is not None
    if options.modules:
        modules = _given(options.modules)
    elif drawing:
        modules = selection.modules_in(selection.DRAWN_FROM)
    else:
        modules = selection.changed_modules(base)
        named = ", ".join(map(str, modules[:_NAMED])) + (", ..." if len(modules) > _NAMED else "")
        print(f"{len(modules)} modules differ from {base}: {named or 'nothing to mutate'}")
    mutants = selection.drawn(selection.mutants_of(modules), options.seed)
    allowed = accepted()
    mutants = _first(mutants, options.draw, allowed) if drawing else selection.changed_first(mutants, base)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.place.kind:18} {mutant}")
        return 0
    how = shlex.join(["python", "-m", "tests.mutants", *(sys.argv[1:] if arguments is None else arguments)])
    report = Report(mutants, allowed, REPOSITORY / _REPORT, complete=drawing, how=how)
    with tempfile.TemporaryDirectory(prefix="pm-") as folder, ExitStack() as stack:
        served = _needs_services({mutant.module for mutant in mutants})
        jobs = range(min(options.jobs, len(mutants)))
        checkouts = [Checkout(Path(folder) / str(job), _started(stack) if served else {}) for job in jobs]
        _try_all(mutants, checkouts, Tests(start + options.minutes * 60), report, allowed, start + options.minutes * 60)
    return report.ended(time.monotonic() - start)


def _given(paths: Sequence[Path]) -> list[Path]:
    """The modules that were named, alone or by a folder."""
    relative = [path.resolve().relative_to(REPOSITORY) for path in paths]
    if unknown := [path for path in relative if not (REPOSITORY / path).exists()]:
        sys.exit(f"no module {', '.join(map(str, unknown))}")
    folders = [str(path) for path in relative if (REPOSITORY / path).is_dir()]
    return sorted({*(path for path in relative if path.suffix == ".py"), *selection.modules_in(folders)})


def _first(mutants: Sequence[Mutant], count: int, allowed: Sequence[Accepted]) -> list[Mutant]:
    """The first mutants, so many beside equivalent ones."""
    chosen: list[Mutant] = []
    for mutant in mutants:
        if count <= 0:
            break
        chosen.append(mutant)
        count -= not _is_equivalent(mutant, allowed)
    return chosen


def _is_equivalent(mutant: Mutant, allowed: Sequence[Accepted]) -> bool:
    return any(each.equivalent and each.matches(mutant.module, mutant.place) for each in allowed)


def _needs_services(modules: set[Path]) -> bool:
    """Whether tests of these modules speak of Kafka or Redis."""
    files = {REPOSITORY / file for module in modules for file in own_tests(module)}
    return any("kafka" in text or "redis" in text for text in (file.read_text() for file in files if file.is_file()))


def _started(stack: ExitStack) -> dict[str, str]:
    """A Kafka and a Redis for all the runs of one job; where one cannot be had, tests say so themselves."""
    services = {}
    try:
        broker = stack.enter_context(KafkaBroker())
        broker.start_broker()
        services["KAFKA_BOOTSTRAP"] = broker.bootstrap
        server = stack.enter_context(RedisServer())
        server.start_redis()
        services["REDIS_URL"] = server.url
    except ServiceUnavailableError as error:
        print(f"not started: {error}", file=sys.stderr)
    return services


def _try_all(
    mutants: Sequence[Mutant],
    checkouts: Sequence[Checkout],
    tests: Tests,
    report: Report,
    allowed: Sequence[Accepted],
    deadline_s: float,
) -> None:
    """Try mutants in their order, one on each copy at a time, until the time is over."""
    waiting: SimpleQueue[int] = SimpleQueue()
    printing = threading.Lock()
    for number, mutant in enumerate(mutants):
        if _is_equivalent(mutant, allowed):
            report.add(number, Trial(Outcome.EQUIVALENT))
        else:
            waiting.put(number)

    def work(checkout: Checkout) -> None:
        with suppress(Empty):
            while time.monotonic() < deadline_s:
                number = waiting.get_nowait()
                trial = tests.tried(mutants[number], checkout)
                with printing:
                    report.add(number, trial)

    if checkouts:
        with ThreadPoolExecutor(len(checkouts)) as pool:
            for done in as_completed([pool.submit(work, checkout) for checkout in checkouts]):
                done.result()


if __name__ == "__main__":
    sys.exit(main())
