"""Which pairs of vectors and centres no lower bound rules out: by 8-bit codes on a CPU, by float32 on a GPU."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchline.engine.numerics.projection import principal_axes, with_residual
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.code_passes import at_least
from patchline.engine.search.index import FOLD
from patchline.engine.search.int8_codes import Coded, CodeSpace, code_dtype, code_products

CODE_WIDTH = 64
"""Values of a code."""
AXES = (64, 32, 16)
"""Dimensions of the projection in float32 to choose from."""


class Bounds(Protocol):
    """Lower bounds of distances among vectors, int16 less an origin, as far as these have been noted.

    Centres are vectors that were added as such, in order.
    """

    @property
    def width(self) -> float:
        """What a bound costs, in multiply-adds of a float32 product."""

    def note(self, start: int, centred: NDArray[np.float32]) -> None:
        """Take vectors `start` ... in, float32 (n, D) less the origin, exactly."""

    def add(self, centres: Tensor) -> None:
        """Make vectors, int64 (s,), centres."""

    def pairs(self, vectors: slice | Tensor, upper: Tensor, centres: slice) -> tuple[Tensor, Tensor]:
        """Pairs whose bound is no more than the vector's known distance.

        Args:
            vectors: which ones, n of them.
            upper: float32 (n,), upper bounds of squared distances to the nearest centre.
            centres: which ones, by their numbers.

        Returns:
            Indices into `vectors` and into the chosen centres, int64 (p,) each.
        """


class CodeBounds:
    """By `search.int8_codes`, on the CPU; `BYTES` a vector."""

    BYTES = CODE_WIDTH + 4 * 4

    def __init__(self, total: int, sample: NDArray[np.float64], axes: NDArray[np.float64]) -> None:
        self._space = CodeSpace(sample.astype(np.float32), axes, np.zeros(sample.shape[1]), CODE_WIDTH)
        self._coded = Coded.empty(total, self._space.width)
        self._centres = torch.empty((0, self._space.width), dtype=code_dtype())
        self._error = 0.0

    @property
    def width(self) -> float:
        """See `Bounds`: 8-bit products are four times as fast."""
        return self._space.width / 4

    def note(self, start: int, centred: NDArray[np.float32]) -> None:
        """See `Bounds`."""
        self._coded[start : start + len(centred)] = self._space.queries(centred)

    def add(self, centres: Tensor) -> None:
        """See `Bounds`."""
        codes, error = self._space.as_rows(self._coded[centres.numpy()])
        self._centres = torch.cat([self._centres, torch.from_numpy(codes).to(self._centres.dtype)])
        self._error = max(self._error, error)

    def pairs(self, vectors: slice | Tensor, upper: Tensor, centres: slice) -> tuple[Tensor, Tensor]:
        """See `Bounds`."""
        coded = self._coded[vectors if isinstance(vectors, slice) else vectors.numpy()]
        reach = upper.clamp(min=0).double().sqrt_().numpy()
        least = self._space.least(coded, reach, self._error)
        products = code_products(coded.codes, self._centres[centres])
        near, numbers = at_least(products, least)
        return torch.from_numpy(near), torch.from_numpy(numbers)


class FloatBounds:
    """By squared distances of (Px, e(x)), as in `search.device`, on any device; 4 (K + 2) bytes a vector."""

    def __init__(self, axes: NDArray[np.float64], sq_norms: Tensor) -> None:
        self._axes = np.ascontiguousarray(axes)
        self._sq_norms = sq_norms
        self._width = axes.shape[1] + 2
        self._points = torch.empty((len(sq_norms), self._width), device=sq_norms.device)
        self._centres = torch.empty((0, self._width), device=sq_norms.device)

    @property
    def width(self) -> float:
        """See `Bounds`."""
        return float(self._width)

    def note(self, start: int, centred: NDArray[np.float32]) -> None:
        """See `Bounds`. Points are (Px, e(x), 1), computed in float64."""
        doubles = centred.astype(np.float64)
        points = with_residual(doubles, self._axes, np.einsum("nd,nd->n", doubles, doubles))
        part = slice(start, start + len(centred))
        self._points[part, :-1] = torch.from_numpy(points).to(self._points)
        self._points[part, -1] = 1

    def add(self, centres: Tensor) -> None:
        """See `Bounds`. Centres are factors of the bounds: -2 Pc, -2 e(c), |c|^2."""
        lifted = self._points[centres] * -2
        lifted[:, -1] = self._sq_norms[centres]
        self._centres = torch.cat([self._centres, lifted])

    def pairs(self, vectors: slice | Tensor, upper: Tensor, centres: slice) -> tuple[Tensor, Tensor]:
        """See `Bounds`."""
        sq_norms, lifted = self._sq_norms[vectors], self._centres[centres]
        limit = upper + rounding(upper, 2 * self._width, sq_norms) - sq_norms
        if len(lifted) % FOLD:
            filling = lifted.new_zeros((-len(lifted) % FOLD, self._width))
            filling[:, -1] = torch.inf
            lifted = torch.cat([lifted, filling])
        bounds = torch.mm(self._points[vectors], lifted.T).view(len(limit), FOLD, -1)
        near, column = (bounds.amin(1) <= limit[:, None]).nonzero(as_tuple=True)
        hit, layer = (bounds[near, :, column] <= limit[near, None]).nonzero(as_tuple=True)
        return near[hit], layer * bounds.shape[2] + column[hit]


def make_bounds(sample: NDArray[np.float64], sq_norms: Tensor, bytes_each: int) -> tuple[Bounds | None, int]:
    """The bounds that pay and fit into so many bytes a vector, and how many they take.

    Args:
        sample: some of the vectors less the origin, float64 (n, D).
        sq_norms: float32 (N,) on the device, to be filled with those of all vectors less the origin.
        bytes_each: room for each of all vectors.
    """
    dimensions = sample.shape[1]
    if sq_norms.device.type == "cpu":
        if dimensions < CODE_WIDTH or bytes_each < CodeBounds.BYTES:
            return None, 0
        return CodeBounds(len(sq_norms), sample, principal_axes(sample)), CodeBounds.BYTES
    width = next((K for K in AXES if dimensions >= 8 * K and bytes_each >= (K + 2) * 4), 0)
    if not width:
        return None, 0
    return FloatBounds(principal_axes(sample)[:, :width], sq_norms), (width + 2) * 4


def rounding(sq: Tensor, width: int, sq_norms: Tensor) -> Tensor:
    """How far squared distances of vectors x, taken from float32 products, may err, float32 (n,).

    |x|^2 + |c|^2 - 2 x.c errs by less than (D / 2 + 4) u (|x| + |c|)^2, whatever the order of summation, and
    |c| <= |x| + |x - c|. So a centre of large norm, which is far from all others, does not blur their distances.

    Args:
        sq: float32 (n,), squared distances.
        width: the dimensions of the products.
        sq_norms: float32 (n,), squared lengths of the vectors.
    """
    reach = sq.clamp(min=0).sqrt_().add_(sq_norms.sqrt(), alpha=2)
    return reach.square_().mul_((width + 8) * UNIT)
