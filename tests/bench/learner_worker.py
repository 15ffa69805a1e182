"""A learner in a process of its own: `python -m tests.bench.learner_worker STORE FRAMES.npy`; prints one JSON line."""

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Confirmation


def main(store: str, frames_file: str) -> None:
    """Confirm every frame as good, one after the other, and say what it took."""
    frames = np.load(frames_file)
    before = _private()
    start = time.perf_counter()
    learner = Learner.open(GenerationStore(store))
    for _ in learner.warm_up():
        pass
    warm_up_s = time.perf_counter() - start
    after, rows = _private(), len(learner.bank.rows)
    seconds, commits, steps = [], [], []
    peak = after
    for number, patches in enumerate(frames):
        start = step = time.perf_counter()
        tap = Confirmation(feedback_id=f"tap-{number}", operator="bench", frame=f"tapped-{number}", patches=patches)
        for _ in learner.confirm_good(tap):
            now = time.perf_counter()
            steps.append(now - step)
            step = now
        proposed = time.perf_counter()
        learner.commit()
        seconds.append(time.perf_counter() - start)
        commits.append(time.perf_counter() - proposed)
        peak = max(peak, _private())
    calibration = learner.bank.calibration.frames
    said = {
        "rows": rows,
        "dimensions": frames.shape[2],
        "calibration": calibration,
        "patch_bytes": calibration * frames[0].nbytes,
        "added": len(learner.bank.rows) - rows,
        "seconds": seconds,
        "commit_s": median(commits),
        "step_s": max(steps),
        "warm_up_s": warm_up_s,
        "before_bytes": before,
        "after_bytes": after,
        "peak_bytes": peak,
    }
    print(json.dumps(said))


def _private() -> int:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
