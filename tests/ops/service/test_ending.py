"""A process ends within its time, whatever its threads do."""

import signal
import subprocess
import sys
import time

import pytest

HANGS = """
import os, threading, time
from patchline.ops.service.ending import end_within
threading.Thread(target=time.sleep, args=(600,)).start()
end_within({seconds}, {code})
print("told", flush=True)
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_thread_that_hangs_does_not_keep_the_process(code: int) -> None:
    """Python waits for it without end."""
    began = time.monotonic()
    command = [sys.executable, "-c", HANGS.format(seconds=0.2, code=code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "told\n")
    assert time.monotonic() - began < 60


def test_a_process_that_ends_by_itself_does_not_wait() -> None:
    """The time is a bound."""
    script = HANGS.format(seconds=600, code=1).replace("(600,)", "(0,)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 != -signal.SIGABRT
