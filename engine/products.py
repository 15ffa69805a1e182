"""Matrix products of arrays, by torch.

numpy's OpenBLAS has threads of its own, as many as there are cores whatever torch is told, and after each product they
spin for some 25 ms: beside frames that are inspected on every core, they take half of the machine for nothing.

torch's threads wait for each other too, for as long as a core is busy with something else: what a core does in a few
milliseconds it does alone.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)
SMALL = 2**26
"""Multiplications of a product that one thread makes: 2 to 5 ms."""


def product(a: NDArray[Float], b: NDArray[Float]) -> NDArray[Float]:
    """The matrix product of (n, K) and (K, m), both of one type, with as many threads as torch has in this thread; a
    small one with one.
    """
    threads = torch.get_num_threads() if a.size * b.shape[1] < SMALL else 1
    if threads > 1:
        torch.set_num_threads(1)
    try:
        found: NDArray[Float] = torch.mm(_tensor(a), _tensor(b)).numpy()
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
    return found


def _tensor(array: NDArray[Float]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch wants memory it might write to
