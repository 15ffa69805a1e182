"""Weights of convolutions in the layout in which oneDNN computes fastest."""

from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

MOST_SHAPES = 256
"""Shapes for which a weight is kept packed: more than a process meets, unless frames are of ever other sizes."""


class PackedWeight:
    """A convolution's weight, packed once for every input shape and number of threads that it is asked for with.

    Which layout oneDNN wants can depend on both. Given another, it packs the weight anew for each frame, which takes up
    to 8 times as long as the convolution itself. Shapes that want the same layout share one packed weight. The shape
    that came first is forgotten where there are too many.
    """

    def __init__(
        self, weight: Tensor, padding: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
    ) -> None:
        self.geometry = (list(padding), list(stride), list(dilation), groups)
        """Padding, stride, dilation and groups, as the operations of `torch.ops.mkldnn` take them."""
        self._lock = Lock()
        self._plain: Tensor | None = weight
        """The weight until it has been packed; from then on it is unpacked where it is needed again."""
        self._packed: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def tensor(self, input_shape: Sequence[int]) -> Tensor:
        """The packed weight for an input of this shape and the calling thread's number of threads."""
        key = (torch.get_num_threads(), tuple(input_shape))
        packed = self._packed.get(key)
        if packed is None:
            with self._lock:
                packed = self._packed[key] = self._pack(key[1])
        return packed

    def _pack(self, input_shape: tuple[int, ...]) -> Tensor:
        kept = list(self._packed.values())
        with torch.inference_mode(False), torch.no_grad():  # whatever mode the first caller is in
            weight = kept[0].to_dense() if self._plain is None else self._plain
            packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry, list(input_shape))
        self._plain = None
        if len(kept) >= MOST_SHAPES:
            del self._packed[next(iter(self._packed))]
        return next((other for other in kept if _alike(other, packed)), packed)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same layout."""
    layout = torch.ops.mkldnn._get_mkldnn_serialized_md
    return torch.equal(layout(a), layout(b))


def available() -> bool:
    """Whether this build of PyTorch has the operations that packed weights need."""
    return bool(torch._C._has_mkldnn) and all(
        hasattr(torch.ops.mkldnn, name)
        for name in (
            "_reorder_convolution_weight",
            "_convolution_pointwise",
            "_convolution_pointwise_",
            "_get_mkldnn_serialized_md",
        )
    )
