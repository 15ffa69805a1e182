"""Matrix products on the CPU: of arrays by torch (`product`), and with one matrix many times over (`FixedProduct`).

numpy's OpenBLAS has threads of its own, as many as there are cores whatever torch is told, and after each product they
spin for some 25 ms: beside frames that are inspected on every core, they take half of the machine for nothing. So the
engine multiplies arrays by torch.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from patchline.engine.numerics import onednn
from patchline.engine.numerics.onednn import PackedWeight

Float = TypeVar("Float", np.float32, np.float64)
COLUMNS = 16
"""Columns are filled up to a multiple of this: as many float32 values as a vector register of 512 bits holds."""
FEWEST_VECTORS = 256
"""Vectors from which oneDNN is used: for fewer it takes longer to prepare for their number than it saves."""


def product(a: NDArray[Float], b: NDArray[Float]) -> NDArray[Float]:
    """The matrix product of (n, K) and (K, m), both of one type, with as many threads as torch has in this thread."""
    result: NDArray[Float] = torch.mm(_tensor(a), _tensor(b)).numpy()
    return result


def _tensor(array: NDArray[Float]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch wants memory it might write to


class FixedProduct:
    """Products of vectors with one matrix, as sums over groups of dimensions, which are then summed.

    The rounding of a sum of few dimensions has a small bound. As a grouped 1x1 convolution oneDNN computes the sums in
    a third of the time that `torch.mm` takes on an AMD processor, where MKL does not use vectors of 512 bits.

    Args:
        matrix: float32 (D, K).
        summed: the most dimensions in a group.
    """

    def __init__(self, matrix: Tensor, summed: int) -> None:
        D, self._columns = matrix.shape
        self.groups = -(-D // summed)
        """How many groups of dimensions there are."""
        self.depth = -(-D // self.groups) * self.groups
        """D, filled up to a multiple of the groups: vectors have so many values, those beyond D zeros."""
        width = -(-self._columns // COLUMNS) * COLUMNS
        filled = pad(matrix, (0, width - self._columns, 0, self.depth - D))
        self._parts = filled.view(self.groups, -1, width)  # (G, D / G, K)
        self._packed: PackedWeight | None = None
        if onednn.available():
            weight = self._parts.transpose(1, 2).reshape(self.groups * width, -1, 1, 1)
            self._packed = PackedWeight(weight, [0, 0], [1, 1], [1, 1], self.groups)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Multiply vectors, float32 (n, depth), contiguous: float32 (n, K)."""
        n = len(vectors)
        if self._packed is None or n < FEWEST_VECTORS:
            parts = torch.bmm(vectors.view(n, self.groups, -1).transpose(0, 1), self._parts)
            return (parts[0] if self.groups == 1 else parts.sum(0))[:, : self._columns]
        x = vectors.view(1, n, 1, self.depth).permute(0, 3, 1, 2)
        # Packed for this number of vectors, by which oneDNN chooses the width of its blocks of columns.
        weight = self._packed.tensor(x.shape)
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, None, *self._packed.geometry, "none", [], "")
        sums = y.permute(0, 2, 3, 1).reshape(n, self.groups, -1)
        return (sums[:, 0] if self.groups == 1 else sums.sum(1))[:, : self._columns]
