"""A network with bfloat16 weights and activations, by oneDNN's convolutions; what goes in and comes out is float32."""

import torch
from torch import Tensor, fx

from patchline.engine.features.cpu import fusion
from patchline.engine.features.cpu.fusion import OneDnnConvolution


class Bfloat16Network:
    """Makes the feature maps of a folded, frozen float32 network, which it takes over; any thread may call it."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = fusion.fuse(graph.to(torch.bfloat16), OneDnnConvolution, (OneDnnConvolution,))

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32, channels-last, to one float32 tensor for each tapped stage."""
        return [output.float() for output in self._graph(x.to(torch.bfloat16))]
