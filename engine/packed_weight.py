"""Weights in the layout in which oneDNN computes fastest, packed once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.cores import computing_with


class PackedWeight:
    """The weight of a convolution for inputs of about one shape, for one thread and for as many as there are now.

    oneDNN wants another layout of some for another number of threads, and would bring these into it anew for every
    frame, which takes longer than the convolution.
    """

    def __init__(
        self,
        weight: Tensor,
        padding: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        input_shape: Sequence[int],
    ) -> None:
        self.geometry = (list(padding), list(stride), list(dilation), groups)
        """What `torch.ops.mkldnn` wants to be told of the convolution besides its weight."""
        self._packed: dict[int, Tensor] = {}
        for threads in {1, torch.get_num_threads()}:
            with computing_with(threads):
                self._packed[threads] = torch.ops.mkldnn._reorder_convolution_weight(
                    weight, *self.geometry, list(input_shape)
                )

    @property
    def tensor(self) -> Tensor:
        """What this thread computes with."""
        return self._packed.get(torch.get_num_threads(), self._packed[1])


def available() -> bool:
    """Whether this build of PyTorch has the operations."""
    return bool(torch._C._has_mkldnn) and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_")
    )
