"""Fuses convolutions with what follows them on a CPU, into operations of oneDNN whose weights are packed once.

Eager PyTorch brings a convolution's weights into oneDNN's layout for every frame, and passes over its output again for
the activation and the residual sum. Here the packed weights are kept, and both are done while the output is in cache.
These are the operations that PyTorch's own compiler emits for a CPU, without its need of a C++ compiler. Convolutions
that Winograd's filtering makes cheaper go that way instead.
"""

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from patchline.engine.features.cpu import winograd
from patchline.engine.features.cpu.winograd import WinogradConvolution
from patchline.engine.features.fx_graph import (
    NOMINAL_PX,
    absorb,
    call_count,
    called_module,
    finalise,
    other_addend,
    replace_module,
    sole_user,
)
from patchline.engine.numerics.onednn import PackedWeight


class OneDnnConvolution(nn.Module):
    """A convolution and its activation; a second input is added first, and overwritten by the result."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self._weight = PackedWeight(
            convolution.weight.detach(),
            cast(tuple[int, int], convolution.padding),
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )
        self.register_buffer("bias", convolution.bias, persistent=False)
        self._activation, self._scalars = onednn_name(activation)
        self._weight_values = convolution.weight.numel()
        self._channels = (convolution.in_channels, convolution.out_channels)
        self._stride = cast(tuple[int, int], convolution.stride)
        self.kind = ("direct", *convolution.weight.shape, *map(str, self._weight.geometry), self._activation)
        """What makes two of them take the same time and the same order of sums."""

    def weights_outweigh(self, height: int, width: int) -> bool:
        """Whether its weights are larger than what it reads and writes of a frame, (C, height, width)."""
        written = self._channels[1] * (height // self._stride[0]) * (width // self._stride[1])
        return self._weight_values > self._channels[0] * height * width + written

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C, H, W) channels-last to the same; `added` is overwritten."""
        weight, geometry = self._weight.tensor(x.shape), self._weight.geometry
        if added is None:
            result: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, weight, self.bias, *geometry, self._activation, self._scalars, ""
            )
            return result
        activation = None if self._activation == "none" else self._activation
        torch.ops.mkldnn._convolution_pointwise_.binary(
            added, x, weight, self.bias, *geometry, "add", 1.0, activation, self._scalars, None
        )
        return added


FRESH = (OneDnnConvolution, WinogradConvolution)
"""Modules that make a new tensor, which a later sum may overwrite."""
Fused: TypeAlias = Callable[[nn.Conv2d, nn.Module | None], nn.Module]
"""Makes the module that computes a convolution, what may be added to it, and its activation."""


def fuse_for_cpu(graph: fx.GraphModule) -> fx.GraphModule:
    """Replace the convolutions of a folded, frozen float32 network on the CPU; it is changed in place and returned."""
    return fuse(graph, _quickest, FRESH)


@torch.no_grad()
def fuse(graph: fx.GraphModule, make: Fused, fresh: tuple[type[nn.Module], ...]) -> fx.GraphModule:
    """Replace each convolution, with the sum and the activation that alone read it, by one module.

    Args:
        graph: a folded, frozen network on the CPU, which is changed in place and returned.
        make: makes a module, called with an input and, where there is a sum, with what is added.
        fresh: the classes that it makes, each of which gives a new tensor that a later sum may overwrite.
    """
    dtype = next((parameter.dtype for parameter in graph.parameters()), torch.float32)
    example = torch.zeros(1, 3, NOMINAL_PX, NOMINAL_PX, dtype=dtype).to(memory_format=torch.channels_last)
    ShapeProp(graph).propagate(example)
    output = next(node for node in graph.graph.nodes if node.op == "output")
    tapped = set(output.all_input_nodes)
    for node in list(graph.graph.nodes):
        convolution = called_module(graph, node)
        if type(convolution) is not nn.Conv2d or isinstance(convolution.padding, str) or call_count(graph, node) > 1:
            continue
        absorbed = [node]
        added = _sum_with(graph, absorbed, tapped, fresh)
        activation = _activation_after(graph, absorbed, tapped)
        if added is not None and isinstance(activation, nn.ReLU6):  # sums take no bounded activation
            absorbed.pop()
            activation = None
        source = node.args[0]
        replace_module(graph, node.target, make(convolution, activation))
        if len(absorbed) == 1:
            continue
        absorb(graph, absorbed, (source,) if added is None else (source, added), node, tapped)
    finalise(graph)
    return graph


def _quickest(convolution: nn.Conv2d, activation: nn.Module | None) -> nn.Module:
    kind = WinogradConvolution if winograd.fits(convolution) else OneDnnConvolution
    return kind(convolution, activation)


def _sum_with(
    graph: fx.GraphModule, absorbed: list[fx.Node], tapped: set[fx.Node], fresh: tuple[type[nn.Module], ...]
) -> fx.Node | None:
    """What a residual sum that alone reads the convolution adds to it, if that may be overwritten; else None.

    It may be overwritten where it is a convolution's own output and all else that reads it runs before. The sum joins
    `absorbed` then.
    """
    (convolution,) = absorbed
    total = sole_user(convolution, tapped)
    other = None if total is None else other_addend(total, convolution)
    if total is None or other is None or other in tapped or not isinstance(called_module(graph, other), fresh):
        return None
    if not other < convolution or any(not user < convolution for user in other.users if user is not total):
        return None
    absorbed.append(total)
    return other


def _activation_after(graph: fx.GraphModule, absorbed: list[fx.Node], tapped: set[fx.Node]) -> nn.Module | None:
    """The ReLU or ReLU6 that alone reads what is absorbed so far, if there is one; it joins `absorbed`."""
    user = sole_user(absorbed[-1], tapped)
    module = called_module(graph, user) if user is not None else None
    if user is None or not isinstance(module, nn.ReLU | nn.ReLU6):
        return None
    absorbed.append(user)
    return module


def onednn_name(activation: nn.Module | None) -> tuple[str, list[float]]:
    """The name that PyTorch's wrapper of oneDNN has for an activation, and its arguments."""
    if activation is None:
        return "none", []
    if isinstance(activation, nn.ReLU6):
        return "hardtanh", [0.0, 6.0]
    return "relu", []
