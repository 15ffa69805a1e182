"""Matrix products of arrays, by torch.

numpy's OpenBLAS has threads of its own, as many as there are cores whatever torch is told, and after each product they
spin for some 25 ms: beside frames that are inspected on every core, they take half of the machine for nothing.
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


def product(a: NDArray[Float], b: NDArray[Float]) -> NDArray[Float]:
    """The matrix product of (n, K) and (K, m), both of one type, with as many threads as torch has in this thread."""
    found: NDArray[Float] = torch.mm(_tensor(a), _tensor(b)).numpy()
    return found


def _tensor(array: NDArray[Float]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch wants memory it might write to


COLUMNS = 16
"""A vector register's worth: columns are filled up to a multiple of it."""


FEW = 256
"""Vectors below which oneDNN takes longer to make ready for their number, which seldom comes twice, than it saves."""


class FixedProduct:
    """Products with `matrix`, float32 (D, K): sums of `summed` dimensions or fewer, which are summed.

    As a convolution of 1x1 in groups oneDNN computes them in a third of the time that `torch.mm` takes on an AMD
    processor, whose vectors of 512 bits MKL leaves alone.
    """

    def __init__(self, matrix: Tensor, summed: int) -> None:
        D, self._columns = matrix.shape
        self.groups = -(-D // summed)
        """Sums that are summed."""
        self.depth = -(-D // self.groups) * self.groups
        """D filled up: vectors have so many values, the last of them 0."""
        width = -(-self._columns // COLUMNS) * COLUMNS
        filled = pad(matrix, (0, width - self._columns, 0, self.depth - D))
        self._parts = filled.view(self.groups, -1, width)  # (G, D / G, K)
        self._packed: PackedWeight | None = None
        if onednn.available():
            weight = self._parts.transpose(1, 2).reshape(self.groups * width, -1, 1, 1)
            self._packed = PackedWeight(weight, [0, 0], [1, 1], [1, 1], self.groups)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Of vectors, float32 (n, depth), contiguous; float32 (n, K)."""
        n = len(vectors)
        if self._packed is None or n < FEW:
            parts = torch.bmm(vectors.view(n, self.groups, -1).transpose(0, 1), self._parts)
            return parts.sum(0)[:, : self._columns]
        x = vectors.view(1, n, 1, self.depth).permute(0, 3, 1, 2)
        # Packed for this number of vectors, as oneDNN chooses the width of its blocks of columns by it.
        weight = self._packed.tensor(x.shape)
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, None, *self._packed.geometry, "none", [], "")
        return y.permute(0, 2, 3, 1).reshape(n, self.groups, -1).sum(1)[:, : self._columns]
