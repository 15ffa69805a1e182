"""What is asked of a traced network, and done to it, where operations are joined."""

from typing import cast

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return graph.get_submodule(cast(str, node.target)) if node.op == "call_module" else None


def calls(graph: fx.GraphModule, node: fx.Node) -> int:
    """How many nodes call the module that `node` calls."""
    return sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes)


def only_user(node: fx.Node, tapped: set[fx.Node]) -> fx.Node | None:
    """The node that alone reads `node`; None where it is `tapped`, and so read from outside."""
    return next(iter(node.users)) if len(node.users) == 1 and node not in tapped else None


def shape_of(node: fx.Node) -> torch.Size | None:
    """The shape of a node's tensor, as `ShapeProp` has found it."""
    found = node.meta.get("tensor_meta")
    return found.shape if isinstance(found, TensorMetadata) else None


def replace_module(graph: fx.GraphModule, target: str, module: nn.Module) -> None:
    """Let whoever calls `target` call `module`."""
    parent, _, name = target.rpartition(".")
    setattr(graph.get_submodule(parent), name, module)


def absorb(
    graph: fx.GraphModule, absorbed: list[fx.Node], args: tuple[fx.Node, ...], before: fx.Node, tapped: set[fx.Node]
) -> None:
    """One call of the first node's module, before `before`, in place of nodes of which each alone reads the last."""
    first, last = absorbed[0], absorbed[-1]
    with graph.graph.inserting_before(before):
        fused = graph.graph.call_module(cast(str, first.target), args)
    fused.meta = last.meta
    last.replace_all_uses_with(fused)
    if last in tapped:
        tapped.add(fused)
    for gone in reversed(absorbed):
        graph.graph.erase_node(gone)


def settle(graph: fx.GraphModule) -> None:
    """Make a changed graph run, and forget modules that nobody calls."""
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
