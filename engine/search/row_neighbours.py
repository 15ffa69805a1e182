"""The rows nearest to a bank's own rows, on a device, without the host waiting for it (the neighbours of Eq. 7).

Products in float32 propose more rows than are wanted, sums of squared differences measure them. The proposals suffice
where the last of them is farther than what is wanted by more than rounding explains, as it nearly always is, since
rows of a coreset are far apart; whether they do is known on the device, and the host reads it with the result.
"""

import torch
from torch import Tensor

from patchline.engine.numerics.device import full_float32
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.index import nearest_measured

PROPOSED = 64
"""Rows measured for each row; twice as many as are wanted where that is more."""
PRODUCTS = 2**26
"""Values of products held at a time: 256 MiB."""


class RowNeighbours:
    """Finds neighbours among `rows`, float32 (M, D) on the device."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._sq_norms = rows.square().sum(1)
        self._largest = self._sq_norms.amax()

    @torch.inference_mode()
    def around(self, numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the k rows nearest to each of the rows `numbers`, int64 (n,).

        Returns:
            Rows, int64 (n, k), ascending by distance, ties to the lowest row: a row itself is among them unless k rows
            below it equal it. And whether all of this is proven, a bool () on the device.
        """
        parts = torch.split(numbers, max(1, PRODUCTS // len(self._rows)))
        with full_float32(self._rows.device):
            blocks = [self._around(part, k) for part in parts]
        around, proven = zip(*blocks, strict=True)
        return torch.cat(around), torch.stack(proven).all()

    def _around(self, numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
        M, D = self._rows.shape
        Q = self._rows[numbers]
        width = min(M, max(PROPOSED, 2 * k))
        proposed = torch.addmm(self._sq_norms, Q, self._rows.T, alpha=-2)  # (n, M), each less |q|^2
        values, candidates = proposed.topk(width, dim=1, largest=False)
        sq, around = nearest_measured(Q, self._rows, candidates, k)
        if width == M:
            return around, torch.ones((), dtype=torch.bool, device=Q.device)
        sq_norms = self._sq_norms[numbers]
        slack = 2 * (D + 4) * UNIT * (sq_norms.sqrt() + self._largest.sqrt()).square()
        return around, (values[:, -1] + sq_norms - slack > sq[:, k - 1]).all()
