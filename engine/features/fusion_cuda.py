"""Fuses convolutions with what follows them on a GPU: activation and residual sum cost no pass of their own.

cuDNN has a convolution with bias and ReLU, and one that adds another map before the ReLU. Where the other map is itself
the output of a convolution, as at the start of a residual stage, the two biases are added into one.
"""

from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

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

COLOURS = 3
"""Channels of an image."""
WIDE = 4
"""Channels that tensor cores take faster."""
RELUS = (torch.relu, functional.relu)


class CudnnConvolution(nn.Module):
    """A convolution and ReLU; a second input is added before the ReLU."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._convolution = convolution
        self._geometry = (
            list(convolution.stride),
            list(cast(tuple[int, int], convolution.padding)),
            list(convolution.dilation),
            convolution.groups,
        )

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, O, H', W'); `added` has the output's shape."""
        if x.device.type != "cuda":
            whole = self._convolution(x)
            return functional.relu(whole if added is None else whole + added)
        weight, bias = self._convolution.weight, self._convolution.bias
        if added is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *self._geometry)
        return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, bias, *self._geometry)


@torch.no_grad()
def fuse_for_cuda(graph: fx.GraphModule) -> fx.GraphModule:
    """Replace the convolutions of a folded, frozen network, on its device; it is changed in place and returned."""
    weight = next(graph.parameters())
    try:
        ShapeProp(graph).propagate(torch.zeros(1, 3, NOMINAL_PX, NOMINAL_PX).to(weight))
    except (RuntimeError, AssertionError, ValueError):  # made for images of another size, as transformers are
        return graph
    output = next(node for node in graph.graph.nodes if node.op == "output")
    tapped = set(output.all_input_nodes)
    for node in list(graph.graph.nodes):
        convolution = called_module(graph, node)
        if not _convolves(convolution) or call_count(graph, node) > 1:
            continue
        absorbed = [node]
        user = sole_user(node, tapped)
        added = None if user is None else other_addend(user, node)
        if user is not None and added is not None:
            absorbed.append(user)
            user = sole_user(user, tapped)
        if user is None or not _is_relu(graph, user):
            continue
        absorbed.append(user)
        convolution = cast(nn.Conv2d, convolution)
        if added is not None:
            _take_bias(graph, added, convolution, tapped)
        replace_module(graph, cast(str, node.target), CudnnConvolution(convolution))
        source = cast(fx.Node, node.args[0])
        absorb(graph, absorbed, (source,) if added is None else (source, added), user, tapped)
    finalise(graph)
    return graph


@torch.no_grad()
def widen_input(graph: fx.GraphModule) -> int:
    """Let a network take images of `WIDE` channels, if only convolutions read them, and return how many it takes.

    Channels beyond the third are multiplied by 0.
    """
    image = next(node for node in graph.graph.nodes if node.op == "placeholder")
    readers = [(called_module(graph, user), user) for user in image.users]
    convolutions = [
        module._convolution if isinstance(module, CudnnConvolution) else module
        for module, user in readers
        if call_count(graph, user) == 1
    ]
    if len(convolutions) < len(readers) or any(
        not isinstance(module, nn.Conv2d) or module.groups > 1 for module in convolutions
    ):
        return COLOURS
    for convolution in cast(list[nn.Conv2d], convolutions):
        missing = WIDE - convolution.in_channels
        weight = functional.pad(convolution.weight, (0, 0, 0, 0, 0, missing))
        convolution.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        convolution.in_channels = WIDE
    return WIDE


def _convolves(module: nn.Module | None) -> bool:
    """Whether it is a convolution that cuDNN's fused operations can compute."""
    return (
        type(module) is nn.Conv2d
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
        and module.bias is not None
    )


def _take_bias(graph: fx.GraphModule, added: fx.Node, convolution: nn.Conv2d, tapped: set[fx.Node]) -> None:
    """Move the bias of the convolution that makes `added`, if nothing else reads `added`, to `convolution`."""
    other = called_module(graph, added)
    if not _convolves(other) or sole_user(added, tapped) is None or call_count(graph, added) > 1:
        return
    other = cast(nn.Conv2d, other)
    convolution.bias = nn.Parameter(cast(Tensor, convolution.bias) + cast(Tensor, other.bias), requires_grad=False)
    other.bias = None


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    return type(called_module(graph, node)) is nn.ReLU or (node.op == "call_function" and node.target in RELUS)
