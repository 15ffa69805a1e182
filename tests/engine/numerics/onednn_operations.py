"""What oneDNN is seen to do."""

import ctypes
from collections.abc import Callable

import pytest
import torch

THREADS = (1, torch.get_num_threads(), 1)


def operations_of(work: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The kinds of operations that oneDNN says it ran for `work`, such as `convolution` and `reorder`."""
    work()  # what is only done once
    capfd.readouterr()
    verbose = torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON)  # type: ignore[no-untyped-call]  # torch has no types for it
    with verbose:
        work()
    ctypes.CDLL(None).fflush(None)
    lines = [line.split(",") for line in capfd.readouterr().out.splitlines() if ",exec," in line]
    return [line[line.index("exec") + 2] for line in lines]
