"""Applies updates to a bank until it is killed: `python -m tests.chaos.updater STORE`.

For each line on standard input, the number of the first update that is not settled and of the first that is not to be
applied, it forks a process that applies those between, as feedback would come again. That process says of each that it
is settled once it is stored. Forking spares every life the seconds that imports take.
"""

import os
import sys

from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Unlearning
from tests.engine.learning_worlds import confirmation


def apply(learner: Learner, number: int) -> bool:
    """Apply update `number`: most confirm a frame, some a defect, some unlearn; False where it was applied before."""
    asked = f"feedback-{number}"
    if learner.knows(asked):
        return False
    if number % 10 == 9:
        steps = learner.unlearn(Unlearning(feedback_id=asked, operator="kim", frame=f"f{number - 2}"))
    elif number % 10 == 4:
        steps = learner.confirm_defect(confirmation(number, shift=1000 * (number + 1) % 20_000))
    else:
        steps = learner.confirm_good(confirmation(number))
    for _ in steps:
        pass
    learner.commit()
    return True


def main(url: str) -> None:
    """Serve standard input until it ends."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            first, end = map(int, line.split())
            _live(url, first, end)
        _say(f"started {pid}")
        os.waitpid(pid, 0)
        _say("ended")


def _live(url: str, first: int, end: int) -> None:
    try:
        learner = Learner.open(GenerationStore(url))
        for number in range(first, end):
            _say(f"settled {number}" if apply(learner, number) else f"known {number}")
    finally:
        os._exit(0)


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # whole or not at all


if __name__ == "__main__":
    main(sys.argv[1])
