"""Batch normalisation folded into the convolution before it: the same function with one operation less."""

from typing import cast

from timm.layers.norm_act import BatchNormAct2d
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from patchline.engine.features.fx_graph import finalise, replace_module


def fold(graph: fx.GraphModule) -> fx.GraphModule:
    """Fold every batch normalisation that alone reads a convolution, and drop modules that do nothing.

    `graph` is changed in place and returned. What follows a tapped stage may not write into its output, so activations
    after it are no longer computed in place.
    """
    for node in list(graph.graph.nodes):
        if node.op != "call_module":
            continue
        module = graph.get_submodule(node.target)
        before = node.args[0]
        if isinstance(module, nn.Identity | nn.Dropout):
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
        elif isinstance(module, nn.BatchNorm2d) and _alone_after_convolution(graph, before):
            convolution = cast(nn.Conv2d, graph.get_submodule(before.target))
            fused = fuse_conv_bn_eval(convolution, module)
            replace_module(graph, before.target, fused)
            replace_module(graph, node.target, module.act if isinstance(module, BatchNormAct2d) else nn.Identity())
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    _protect_outputs(graph)
    finalise(graph)
    return graph


def _alone_after_convolution(graph: fx.GraphModule, before: object) -> bool:
    return (
        isinstance(before, fx.Node)
        and before.op == "call_module"
        and len(before.users) == 1
        and isinstance(graph.get_submodule(cast(str, before.target)), nn.Conv2d)
    )


def _protect_outputs(graph: fx.GraphModule) -> None:
    output = next(node for node in graph.graph.nodes if node.op == "output")
    for tapped in output.all_input_nodes:
        for user in tapped.users:
            if user.op == "call_module":
                module = graph.get_submodule(user.target)
                if getattr(module, "inplace", False):
                    setattr(module, "inplace", False)  # noqa: B010 - not an attribute of every module
