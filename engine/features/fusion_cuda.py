"""Convolutions with what follows them in one operation on a GPU: activation and residual sum cost no pass of their own.

cuDNN has a convolution with bias and ReLU, and one that adds another map first. Where the other map is a convolution's
own, as at the start of a residual stage, its bias joins that of the sum.
"""

import operator
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from patchline.engine.features.fx_graph import absorb, calls, module_of, only_user, replace_module, settle, shape_of

NOMINAL_PX = 224
"""Image height and width by which shapes are told."""
COLOURS, WIDE = 3, 4
"""Channels of an image, and what tensor cores take faster."""
SUMS = (operator.add, operator.iadd, torch.add)
RELUS = (torch.relu, functional.relu)


class FusedConvolution(nn.Module):
    """A convolution and ReLU; with a second input, of their sum."""

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
        """(B, C, H, W) to the same."""
        if x.device.type != "cuda":
            whole = self._convolution(x)
            return functional.relu(whole if added is None else whole + added)
        weight, bias = self._convolution.weight, self._convolution.bias
        if added is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *self._geometry)
        return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, bias, *self._geometry)


@torch.no_grad()
def fuse(graph: fx.GraphModule) -> fx.GraphModule:
    """Replace the convolutions of a folded, frozen graph, on its device; the graph itself is changed."""
    weight = next(graph.parameters())
    try:
        ShapeProp(graph).propagate(torch.zeros(1, 3, NOMINAL_PX, NOMINAL_PX).to(weight))
    except (RuntimeError, AssertionError, ValueError):  # made for images of another size, as transformers are
        return graph
    output = next(node for node in graph.graph.nodes if node.op == "output")
    tapped = set(output.all_input_nodes)
    for node in list(graph.graph.nodes):
        convolution = module_of(graph, node)
        if not _convolves(convolution) or calls(graph, node) > 1:
            continue
        absorbed = [node]
        user = only_user(node, tapped)
        added = None if user is None else _other_side(user, node)
        if user is not None and added is not None:
            absorbed.append(user)
            user = only_user(user, tapped)
        if user is None or not _is_relu(graph, user):
            continue
        absorbed.append(user)
        convolution = cast(nn.Conv2d, convolution)
        if added is not None:
            _take_bias(graph, added, convolution, tapped)
        replace_module(graph, cast(str, node.target), FusedConvolution(convolution))
        source = cast(fx.Node, node.args[0])
        absorb(graph, absorbed, (source,) if added is None else (source, added), user, tapped)
    settle(graph)
    return graph


@torch.no_grad()
def widen_input(graph: fx.GraphModule) -> int:
    """Let a network of images take `WIDE` channels, where only convolutions read them; how many it takes then.

    What is in those beyond the third is multiplied by 0.
    """
    image = next(node for node in graph.graph.nodes if node.op == "placeholder")
    readers = [(module_of(graph, user), user) for user in image.users]
    convolutions = [
        module._convolution if isinstance(module, FusedConvolution) else module
        for module, user in readers
        if calls(graph, user) == 1
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
    """Whether it is a convolution that cuDNN's operations take."""
    return (
        type(module) is nn.Conv2d
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
        and module.bias is not None
    )


def _other_side(user: fx.Node, node: fx.Node) -> fx.Node | None:
    """What `user` adds to `node`, a map of the same shape; None where it does something else."""
    if user.op != "call_function" or user.target not in SUMS or user.kwargs or len(user.args) != 2:
        return None
    (other,) = [side for side in user.args if side is not node] or [None]
    if not isinstance(other, fx.Node) or shape_of(other) is None or shape_of(other) != shape_of(node):
        return None
    return other


def _take_bias(graph: fx.GraphModule, added: fx.Node, convolution: nn.Conv2d, tapped: set[fx.Node]) -> None:
    """Add the bias of the convolution that `added` is, if nothing else reads it, to that of `convolution`."""
    other = module_of(graph, added)
    if not _convolves(other) or only_user(added, tapped) is None or calls(graph, added) > 1:
        return
    other = cast(nn.Conv2d, other)
    convolution.bias = nn.Parameter(cast(Tensor, convolution.bias) + cast(Tensor, other.bias), requires_grad=False)
    other.bias = None


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    return type(module_of(graph, node)) is nn.ReLU or (node.op == "call_function" and node.target in RELUS)
