"""3x3 convolutions by Winograd's minimal filtering, with a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: an output tile of 4 x 4 pixels is
Y = A^T [ (G g G^T) * (B^T d B) ] A of an input tile d of 6 x 6. The product * is element by element and summed over
input channels, which makes it 36 matrix products over all tiles. The filter g is transformed once, in float64. Against
float64, one layer errs by 1e-5 to 2e-5 of its largest output (a direct float32 sum by 2e-6).

The transforms are linear in a tile's 36 points, so each of them is one small matrix, B^T x B^T or A^T x A^T (Kronecker
products), by which all channels of a tile are multiplied at once. Written as the paper's sums they need a third of the
operations, but pass over memory a dozen times, which took two thirds of a layer's time. The tiles of a few rows are
taken at a time, so that what is between the steps stays in a core's cache.

The 36 products are one grouped 1x1 convolution, whose packed weights oneDNN handles better than batched matrix products
of this size. Transformed weights are four times the convolution's: 38 MB for 512 channels, far more than a core's cache
holds, and read for every frame they take longer than the arithmetic on the 16 tiles of a 14 x 14 map. So several
frames' tiles may share the products (`frames_together`).
"""

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
TRANSFORMED_VALUES = 2**16
"""Values of the points of as many tiles as a thread transforms at a time: 256 KiB, of which a second-level cache holds
those before and after the transform.
"""

_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_B_TRANSPOSED = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_A_TRANSPOSED = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
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
        self._channels = (in_channels, out_channels)
        self.kind = ("winograd", in_channels, out_channels, str(activation))
        """What makes two of them take the same time and the same order of sums."""
        self._least = None if activation is None else 0.0
        self._most = 6.0 if isinstance(activation, nn.ReLU6) else None
        G = torch.tensor(_G, dtype=torch.float64)
        # (O, C, 3, 3) -> (6 * 6 * O, C, 1, 1): one group of the 1x1 convolution for each point of the tile.
        filters = torch.einsum("ia,ocab,jb->ijoc", G, convolution.weight.detach().double(), G)
        filters = filters.reshape(-1, in_channels, 1, 1).float()
        self._weight = PackedWeight(filters, [0, 0], [1, 1], [1, 1], POINTS**2)
        self._into_points, self._out_of_points = _squared(_B_TRANSPOSED), _squared(_A_TRANSPOSED)
        # A^T e = 1 for the second unit vector e, so what is added to that point is added to every pixel of the tile.
        bias = torch.zeros(POINTS, POINTS, out_channels)
        if convolution.bias is not None:
            bias[1, 1] = convolution.bias.detach()
        self.register_buffer("bias", bias.reshape(-1), persistent=False)

    def weights_outweigh(self, height: int, width: int) -> bool:
        """Whether its transformed weights are larger than a frame's points, before and after the products."""
        C, O = self._channels  # noqa: E741 - the paper's capitals
        return -(-height // TILE) * -(-width // TILE) * (C + O) < C * O

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Take (B, C, H, W), channels-last, to (B, O, H, W), channels-last. All frames' tiles share the products.

        `added`, of the output's shape, is added before the activation.
        """
        (B, _, H, W), (C, O) = x.shape, self._channels  # noqa: E741 - the paper's capitals
        h, w = -(-H // TILE), -(-W // TILE)
        V = x.new_empty(B, h, w, POINTS**2, C)  # B^T d B
        for i in range(B):
            self._transform_input(x[i].permute(1, 2, 0), V[i])
        tiles = V.view(1, B * h, w, -1).permute(0, 3, 1, 2)
        M = torch.ops.mkldnn._convolution_pointwise(
            tiles, self._weight.tensor(tiles.shape), self.bias, *self._weight.geometry, "none", [], ""
        )
        M = M.permute(0, 2, 3, 1).view(B, h, w, POINTS**2, O)
        Y = x.new_empty(B, H, W, O)  # A^T M A
        for i in range(B):
            self._transform_output(M[i], Y[i], None if added is None else added[i].permute(1, 2, 0))
        return Y.permute(0, 3, 1, 2)

    def _transform_input(self, d: Tensor, V: Tensor) -> None:
        """Write the points (h, w, 36, C) of a frame's tiles to `V`; `d` is the frame, (H, W, C)."""
        (H, W, C), (h, w) = d.shape, V.shape[:2]
        d = pad(d, (0, 0, 1, w * TILE + 1 - W, 1, h * TILE + 1 - H))
        tiles = d.unfold(0, POINTS, TILE).unfold(1, POINTS, TILE).permute(0, 1, 3, 4, 2)  # (h, w, 6, 6, C)
        for rows, columns in _blocks(h, w, POINTS**2 * C):
            block = tiles[rows, columns].reshape(-1, POINTS**2, C)
            torch.bmm(self._into_points.expand(len(block), -1, -1), block, out=V[rows, columns].view(block.shape))

    def _transform_output(self, M: Tensor, Y: Tensor, added: Tensor | None) -> None:
        """Write the pixels (H, W, O) of a frame's tiles to `Y`, with what is added, activated; `M` is (h, w, 36, O)."""
        (h, w, _, O), (H, W) = M.shape, Y.shape[:2]  # noqa: E741 - the paper's capitals
        for rows, columns in _blocks(h, w, POINTS**2 * O):
            points = M[rows, columns]
            pixels = torch.bmm(
                self._out_of_points.expand(points.shape[0] * points.shape[1], -1, -1), points.reshape(-1, POINTS**2, O)
            )
            pixels = pixels.view(*points.shape[:2], TILE, TILE, O).transpose(1, 2)  # (rows, 4, columns, 4, O)
            area = slice(rows.start * TILE, rows.stop * TILE), slice(columns.start * TILE, columns.stop * TILE)
            out, more = Y[area], None if added is None else added[area]
            if rows.stop * TILE <= H and columns.stop * TILE <= W:
                out = _tiled(out)
                more = None if more is None else _tiled(more)
            else:  # its last tiles go beyond the frame
                pixels = pixels.flatten(2, 3).flatten(0, 1)[: out.shape[0], : out.shape[1]]
            if more is not None:
                pixels = torch.add(pixels, more, out=out)
            if self._least is not None:
                torch.clamp(pixels, self._least, self._most, out=out)
            elif more is None:
                out.copy_(pixels)


def _squared(transform: tuple[tuple[int, ...], ...]) -> Tensor:
    """The matrix that transforms both directions of a tile at once."""
    matrix = torch.tensor(transform, dtype=torch.float32)  # small integers: the products are exact
    return torch.kron(matrix, matrix)


def _blocks(h: int, w: int, values: int) -> list[tuple[slice, slice]]:
    """Cut h x w tiles of so many values each into blocks of about what the caches of the threads hold: whole rows of
    tiles, or parts of one.
    """
    together = TRANSFORMED_VALUES * torch.get_num_threads()
    columns = -(-w // max(1, round(w * values / together)))
    rows = max(1, round(together / (values * w)))
    return [
        (slice(i, min(i + rows, h)), slice(j, min(j + columns, w)))
        for i in range(0, h, rows)
        for j in range(0, w, columns)
    ]


def _tiled(pixels: Tensor) -> Tensor:
    """(4h, 4w, O) as (h, 4, w, 4, O), the same memory."""
    H, W, O = pixels.shape  # noqa: E741 - the paper's capitals
    return pixels.view(H // TILE, TILE, W // TILE, TILE, O)
