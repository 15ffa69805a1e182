"""Questions to a traced network (a `torch.fx` graph), and changes to it, for passes that fuse its operations.

A node is one operation of the network; nodes are tapped whose output is a stage that the recipe names.
"""

import operator
from typing import cast

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

NOMINAL_PX = 224
"""Height and width of an example image by which shapes are found."""
SUMS = (operator.add, operator.iadd, torch.add)


def called_module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None where it does something else."""
    return graph.get_submodule(cast(str, node.target)) if node.op == "call_module" else None


def call_count(graph: fx.GraphModule, node: fx.Node) -> int:
    """How many nodes call the module that `node` calls."""
    return sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes)


def sole_user(node: fx.Node, tapped: set[fx.Node]) -> fx.Node | None:
    """The node that alone reads `node`; None where several do, or where `node` is tapped and so read from outside."""
    return next(iter(node.users)) if len(node.users) == 1 and node not in tapped else None


def tensor_shape(node: fx.Node) -> torch.Size | None:
    """The shape of a node's tensor, as `ShapeProp` has found it."""
    metadata = node.meta.get("tensor_meta")
    return metadata.shape if isinstance(metadata, TensorMetadata) else None


def other_addend(total: fx.Node, node: fx.Node) -> fx.Node | None:
    """What `total` adds to `node`, a map of the same shape; None where `total` does something else."""
    if total.op != "call_function" or total.target not in SUMS or total.kwargs or len(total.args) != 2:
        return None
    (other,) = [addend for addend in total.args if addend is not node] or [None]
    if not isinstance(other, fx.Node) or tensor_shape(other) is None or tensor_shape(other) != tensor_shape(node):
        return None
    return other


def replace_module(graph: fx.GraphModule, target: str, module: nn.Module) -> None:
    """Put `module` where `target` is, so that nodes which call `target` call it."""
    parent, _, name = target.rpartition(".")
    setattr(graph.get_submodule(parent), name, module)


def absorb(
    graph: fx.GraphModule, absorbed: list[fx.Node], args: tuple[fx.Node, ...], before: fx.Node, tapped: set[fx.Node]
) -> None:
    """Replace a chain of nodes by one call of the first node's module.

    Args:
        graph: the network, which is changed.
        absorbed: the chain; each node alone reads the one before it.
        args: what the call is given.
        before: the node before which the call is put.
        tapped: nodes read from outside; the call joins them where the chain's last node is one.
    """
    first, last = absorbed[0], absorbed[-1]
    with graph.graph.inserting_before(before):
        fused = graph.graph.call_module(cast(str, first.target), args)
    fused.meta = last.meta
    last.replace_all_uses_with(fused)
    if last in tapped:
        tapped.add(fused)
    for node in reversed(absorbed):
        graph.graph.erase_node(node)


def finalise(graph: fx.GraphModule) -> None:
    """Check and compile a changed graph, and delete modules that no node calls."""
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
