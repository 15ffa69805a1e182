"""Kernels compile for the GPUs that lines have, whether or not one is here."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

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


@pytest.mark.parametrize(
    ("capability", "shared_bytes"),
    [
        (75, 64 * 1024),
        (80, 163 * 1024),
        (86, 99 * 1024),
        (89, 99 * 1024),
        (90, 227 * 1024),
        (100, 227 * 1024),
        (120, 99 * 1024),
    ],
)
def test_every_kernel_compiles_and_fits_the_shared_memory(capability: int, shared_bytes: int) -> None:
    """For T4, A100, A10, L4, H100, B200 and RTX PRO 6000 (CUDA C++ Programming Guide, compute capabilities)."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.kernel_compilation", str(capability)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)
    assert shared.keys() == KERNELS
    assert max(shared.values()) <= shared_bytes
