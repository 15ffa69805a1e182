"""Descriptors are raised where they may be, and connections leave enough of them."""

import subprocess
import sys

import pytest

ASK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from patchline.ops.web.descriptors import connections_possible
print(connections_possible(int(sys.argv[3])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "possible", "then"),
    [
        (256, 4096, 512, 512, 4096),
        (1024, 1024, 512, 512, 1024),
        (1024, 1024, 2000, 512, 1024),
        (512, 512, 512, 128, 512),
        (4096, 4096, 100_000, 3584, 4096),
    ],
)
def test_connections_leave_descriptors_for_the_line(
    soft: int, hard: int, wanted: int, possible: int, then: int
) -> None:
    """In a process of its own, since its limit is lowered for good."""
    command = [sys.executable, "-c", ASK, *map(str, (soft, hard, wanted))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(possible), str(then)]
