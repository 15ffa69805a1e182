"""Kernels compile for the GPUs that lines have, whether or not one is here."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

pytestmark = pytest.mark.timeout(600)
"""All kernels of all kinds are compiled while the first test waits."""

KERNELS = {
    "points_kernel",
    "near_groups_kernel",
    "first_kernel",
    "least_kernel",
    "refine_kernel",
    "largest_kernel",
    "others_kernel",
    "unpack_kernel",
    "normalise_kernel",
    "pool_kernel",
    "resize_kernel",
}


SHARED_BYTES = {
    75: 64 * 1024,
    80: 163 * 1024,
    86: 99 * 1024,
    89: 99 * 1024,
    90: 227 * 1024,
    100: 227 * 1024,
    120: 99 * 1024,
}
"""Of T4, A100, A10, L4, H100, B200 and RTX PRO 6000 (CUDA C++ Programming Guide, compute capabilities)."""


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, int]]:
    """For each capability, the shared memory of each kernel; one process compiles for all, as its start is dear."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.kernel_compilation", *map(str, SHARED_BYTES)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("capability", "shared_bytes"), SHARED_BYTES.items())
def test_every_kernel_compiles_and_fits_the_shared_memory(
    capability: int, shared_bytes: int, compiled: dict[str, dict[str, int]]
) -> None:
    """On each kind of GPU."""
    shared = compiled[str(capability)]
    assert shared.keys() == KERNELS
    assert max(shared.values()) <= shared_bytes
