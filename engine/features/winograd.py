"""3x3 convolutions by Winograd's minimal filtering, with a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: an output tile of 4 x 4 pixels is
Y = A^T [ (G g G^T) * (B^T d B) ] A of an input tile d of 6 x 6. The product * is element by element and summed over
input channels, which makes it 36 matrix products over all tiles. The filter g is transformed once, in float64. Against
float64, one layer errs by about 1e-5 of its largest output (a direct float32 sum by 2e-6).

Transforms are written out as sums of strided views, whole rows of channels at a time; they cost about a third of the
layer. The 36 products are one grouped 1x1 convolution, whose packed weights oneDNN handles better than batched
matrix products of this size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from patchline.engine.numerics.onednn import PackedWeight

TILE = 4
"""Side of an output tile, in pixels."""
POINTS = TILE + 2
"""Side of an input tile; a tile has its square of points."""
LEAST_CHANNELS = 64
"""With fewer channels the transforms cost more than the products save."""

_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def fits(convolution: nn.Conv2d) -> bool:
    """Whether `WinogradConvolution` can compute a convolution, and is faster than the direct sum."""
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.padding == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and min(convolution.in_channels, convolution.out_channels) >= LEAST_CHANNELS
    )


class WinogradConvolution(nn.Module):
    """A 3x3 convolution of stride 1 with a border of zeros, and its activation: ReLU, ReLU6 or none.

    Float32, on a CPU.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        out_channels, in_channels = convolution.weight.shape[:2]
        self._out_channels = out_channels
        self._least = None if activation is None else 0.0
        self._most = 6.0 if isinstance(activation, nn.ReLU6) else None
        G = torch.tensor(_G, dtype=torch.float64)
        # (O, C, 3, 3) -> (6 * 6 * O, C, 1, 1): one group of the 1x1 convolution for each point of the tile.
        filters = torch.einsum("ia,ocab,jb->ijoc", G, convolution.weight.detach().double(), G)
        filters = filters.reshape(-1, in_channels, 1, 1).float()
        self._weight = PackedWeight(filters, [0, 0], [1, 1], [1, 1], POINTS**2)
        # A^T e = 1 for the second unit vector e, so what is added to that point is added to every pixel of the tile.
        bias = torch.zeros(POINTS, POINTS, out_channels)
        if convolution.bias is not None:
            bias[1, 1] = convolution.bias.detach()
        self.register_buffer("bias", bias.reshape(-1), persistent=False)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Take (B, C, H, W), channels-last, to (B, O, H, W), channels-last, frame by frame.

        `added`, of the output's shape, is added before the activation.
        """
        if len(x) != 1:
            frames = range(len(x))
            return torch.cat([self(x[i : i + 1], None if added is None else added[i : i + 1]) for i in frames])
        _, C, H, W = x.shape
        O = self._out_channels  # noqa: E741 - the paper's capitals
        h, w = -(-H // TILE), -(-W // TILE)
        d = pad(x[0].permute(1, 2, 0), (0, 0, 1, w * TILE + 1 - W, 1, h * TILE + 1 - H))  # (4h+2, 4w+2, C)
        rows = x.new_empty(POINTS, h, w * TILE + 2, C)  # B^T d
        _input_transform([d[j : j + (h - 1) * TILE + 1 : TILE] for j in range(POINTS)], rows)
        V = x.new_empty(h, w, POINTS, POINTS, C)  # B^T d B
        _input_transform(
            [rows[:, :, j : j + (w - 1) * TILE + 1 : TILE] for j in range(POINTS)], V.permute(3, 2, 0, 1, 4)
        )
        tiles = V.view(1, h, w, -1).permute(0, 3, 1, 2)
        M = torch.ops.mkldnn._convolution_pointwise(
            tiles, self._weight.tensor(tiles.shape), self.bias, *self._weight.geometry, "none", [], ""
        )
        M = M.permute(0, 2, 3, 1).view(h, w, POINTS, POINTS, O)
        columns = x.new_empty(h, TILE, w, POINTS, O)  # A^T M
        _output_transform(M.permute(2, 0, 1, 3, 4), columns.permute(1, 0, 2, 3, 4))
        Y = x.new_empty(h, TILE, w, TILE, O)  # A^T M A
        _output_transform(columns.permute(3, 0, 1, 2, 4), Y.permute(3, 0, 1, 2, 4))
        Y = Y.view(h * TILE, w * TILE, O)[:H, :W].contiguous()
        result = Y.permute(2, 0, 1)[None]
        if added is not None:
            result += added
        return result if self._least is None else result.clamp_(self._least, self._most)


def _input_transform(d: Sequence[Tensor], out: Tensor) -> None:
    """B^T d, six tensors to six: out[i] = sum over j of B[j, i] d[j]; what the sums have in common is computed once."""
    even = torch.sub(d[4], d[2])
    odd = torch.sub(d[3], d[1])
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    even.sub_(d[2], alpha=3)  # d4 - 4 d2
    odd.sub_(d[1], alpha=3)  # d3 - 4 d1
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(even, d[2], out=out[0]).add_(d[0], alpha=4)  # 4 d0 - 5 d2 + d4
    torch.add(d[5], d[3], alpha=-5, out=out[5]).add_(d[1], alpha=4)  # 4 d1 - 5 d3 + d5


def _output_transform(m: Tensor, out: Tensor) -> None:
    """A^T m, six tensors to four, written to `out`."""
    near, near_difference = m[1] + m[2], m[1] - m[2]
    far, far_difference = m[3] + m[4], m[3] - m[4]
    torch.add(near_difference, far_difference, alpha=2, out=out[1])
    torch.add(near, far, alpha=4, out=out[2])
    torch.add(near_difference, far_difference, alpha=8, out=out[3]).add_(m[5])
    torch.add(m[0], near.add_(far), out=out[0])
