"""Matrix products of arrays, by torch.

numpy's OpenBLAS has threads of its own, as many as there are cores whatever torch is told, and after each product they
spin for some 25 ms: beside frames that are inspected on every core, they take half of the machine for nothing.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)


def product(a: NDArray[Float], b: NDArray[Float]) -> NDArray[Float]:
    """The matrix product of (n, K) and (K, m), both of one type, with as many threads as torch has in this thread."""
    found: NDArray[Float] = torch.mm(_tensor(a), _tensor(b)).numpy()
    return found


def _tensor(array: NDArray[Float]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch wants memory it might write to
