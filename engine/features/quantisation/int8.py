"""The pass that turns a traced network's convolutions into ones of 8-bit integers.

First every convolution is joined with the sum and the activation that alone read it (`join_convolutions`); that network
is observed for the ranges of its tensors. Then each tensor is given in the forms that its readers need (`to_int8`):
integers where a convolution reads it, float32 where anything else does, or where a stage is tapped. A residual sum is
taken by the convolution before it, in the form of that convolution's output.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, cast

import torch
from torch import fx, nn

from patchline.engine.errors import RecipeError
from patchline.engine.features.cpu import fusion
from patchline.engine.features.fx_graph import call_count, called_module, finalise, replace_module
from patchline.engine.features.quantisation import ranges
from patchline.engine.features.quantisation.layers import (
    Dequantise,
    FloatConvolution,
    Int8Convolution,
    Int8MaxPool,
    Quantise,
)
from patchline.engine.features.quantisation.ranges import PIXELS, Affine, Observer
from patchline.engine.recipe import Backbone

Form: TypeAlias = Literal["int8", "float32"]


def join_convolutions(graph: fx.GraphModule) -> fx.GraphModule:
    """Join the convolutions of a folded, frozen network with what follows them; it is changed and returned."""
    return fusion.fuse(graph, FloatConvolution, (FloatConvolution, nn.MaxPool2d))


def observer(graph: fx.GraphModule) -> Observer:
    """What observes the tensors of a prepared network that are integers in `to_int8`."""
    rounded = _rounded(graph, _forms(graph))
    return Observer(graph, {name: node for name, node in rounded.items() if name != PIXELS})


@torch.no_grad()
def to_int8(graph: fx.GraphModule, spec: Backbone) -> fx.GraphModule:
    """Replace the convolutions of a prepared network by ones of 8-bit integers; it is changed in place and returned.

    Raises:
        RecipeError: the backbone does not state the ranges of its tensors.
    """
    forms = _forms(graph)
    rounded = _rounded(graph, forms)
    affines = ranges.affines(spec)
    if missing := rounded.keys() - affines.keys():
        raise RecipeError(
            f"backbone {spec.name!r} in int8: no range is stated for {', '.join(sorted(missing)[:3])} "
            f"({len(missing)} of {len(rounded)}); expected those that a fit has observed"
        )
    rounding = _Rounding(graph, {node: affines[name] for name, node in rounded.items()})
    for node in list(graph.graph.nodes):
        module = called_module(graph, node)
        if isinstance(module, FloatConvolution):
            _replace_convolution(rounding, node, module, _output_form(forms[node]))
        elif _selects(graph, node) and forms[node] == {"int8"}:
            replace_module(graph, cast(str, node.target), Int8MaxPool())
            node.args = (rounding.give(cast(fx.Node, node.args[0]), "int8"),)
            rounding.holds(node, "int8")
        else:
            for source in node.all_input_nodes:
                node.replace_input_with(source, rounding.give(source, "float32"))
    finalise(graph)
    return graph


def _replace_convolution(rounding: "_Rounding", node: fx.Node, module: FloatConvolution, form: Form) -> None:
    source, *added = cast(tuple[fx.Node, ...], node.args)
    integers = form == "int8"
    convolution = Int8Convolution(
        module,
        rounding.affine(source),
        rounding.affine(added[0]) if added and integers else None,
        rounding.affine(node) if integers else None,
    )
    replace_module(rounding.graph, cast(str, node.target), convolution)
    node.args = (rounding.give(source, "int8"), *(rounding.give(other, form) for other in added))
    rounding.holds(node, form)


class _Rounding:
    """Gives the nodes of a network as integers and as float32; each step between the two is made once."""

    def __init__(self, graph: fx.GraphModule, affines: Mapping[fx.Node, Affine]) -> None:
        self.graph = graph
        self._affines = {
            node: affines[_origin(graph, node)] for node in graph.graph.nodes if _origin(graph, node) in affines
        }
        self._held: dict[fx.Node, Form] = {}
        self._other: dict[fx.Node, fx.Node] = {}

    def affine(self, node: fx.Node) -> Affine:
        """What a node's integers stand for."""
        return self._affines[node]

    def holds(self, node: fx.Node, form: Form) -> None:
        """Note what comes out of a node; without a note it is float32."""
        self._held[node] = form

    def give(self, node: fx.Node, form: Form) -> fx.Node:
        """The node, or the step behind it that brings it to a form."""
        if self._held.get(node, "float32") == form:
            return node
        if node not in self._other:
            step = Quantise(self.affine(node)) if form == "int8" else Dequantise(self.affine(node))
            name = f"{node.name}_as_{form}"
            self.graph.add_submodule(name, step)
            with self.graph.graph.inserting_after(node):
                self._other[node] = self.graph.graph.call_module(name, (node,))
        return self._other[node]


def _forms(graph: fx.GraphModule) -> dict[fx.Node, set[Form]]:
    """In which forms each node's tensor is read."""
    needed: dict[fx.Node, set[Form]] = {node: set() for node in graph.graph.nodes}
    for node in reversed(graph.graph.nodes):
        if isinstance(called_module(graph, node), FloatConvolution):
            source, *added = cast(tuple[fx.Node, ...], node.args)
            needed[source].add("int8")
            for other in added:
                needed[other].add(_output_form(needed[node]))
        else:
            form: Form = "int8" if _selects(graph, node) and needed[node] == {"int8"} else "float32"
            for source in node.all_input_nodes:
                needed[source].add(form)
    return needed


def _output_form(read: set[Form]) -> Form:
    """What a convolution gives: float32 where anything but convolutions reads it; a step of its own rounds it then."""
    return "float32" if "float32" in read else "int8"


def _selects(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node only picks values of its input, which 8-bit integers can do as well."""
    return Int8MaxPool.fits(called_module(graph, node)) and call_count(graph, node) == 1


def _origin(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose range a node has: its own, or that of the one whose values it picks."""
    while _selects(graph, node):
        node = cast(fx.Node, node.args[0])
    return node


def _name(graph: fx.GraphModule, node: fx.Node) -> str:
    """A range's name: a convolution's is that of its weights."""
    if node.op == "placeholder":
        return PIXELS
    return cast(str, node.target) if isinstance(called_module(graph, node), FloatConvolution) else node.name


def _rounded(graph: fx.GraphModule, forms: Mapping[fx.Node, set[Form]]) -> dict[str, fx.Node]:
    """The nodes whose ranges are needed, by name, in the order of the network."""
    origins = {_origin(graph, node) for node, needed in forms.items() if "int8" in needed}
    return {_name(graph, node): node for node in graph.graph.nodes if node in origins}
