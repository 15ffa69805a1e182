"""A library's network up to the last stage that a recipe taps, traced once, with its weights.

A stage is tapped where the recipe asks for its output. What the tapped stages do not need is never given weights and
never run.
"""

import re
import warnings
from collections.abc import Collection
from inspect import signature
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models import feature_extraction as torchvision_features

from patchline.engine.errors import RecipeError, WeightsError, shown
from patchline.engine.features import weights
from patchline.engine.features.feature_maps import channels_first
from patchline.engine.features.weight_files import locate
from patchline.engine.recipe import Backbone

SEED = re.compile(r"[0-9]{1,18}")
SLOW_TO_INITIALISE = ("googlenet", "inception_v3")
"""torchvision's models that draw random weights slowly, and warn of it, unless told not to; theirs are replaced."""


def build(spec: Backbone, fetch: Collection[str] = ()) -> fx.GraphModule:
    """Build the network on the CPU, in evaluation mode; its output is a tuple of one tensor for each stage.

    Args:
        spec: the backbone, of any origin.
        fetch: the weights that may be downloaded (`weights.locate`).

    Raises:
        RecipeError: the library has no such backbone, or the backbone no such stage.
        WeightsError: the weights are missing, altered, not finite or do not fit.
    """
    model = _architecture(spec)
    graph = _tap(model, spec)
    _take_constants(graph, model, spec)
    graph.load_state_dict(_state(spec, model, graph, fetch), strict=True, assign=True)
    graph.eval().requires_grad_(False)
    return graph


def outline(spec: Backbone) -> fx.GraphModule:
    """The same network without memory for its weights, on torch's device `meta`; raises RecipeError as `build` does."""
    return _tap(_architecture(spec), spec)


def _architecture(spec: Backbone) -> nn.Module:
    """The whole model without memory for its weights, on torch's device `meta`."""
    try:
        try:
            with torch.device("meta"):
                return _create(spec)
        except NotImplementedError:  # it computes its widths with tensors, as RegNet does, which `meta` cannot
            return _create(spec).to("meta")
    except (ValueError, RuntimeError) as error:
        raise RecipeError(f"backbone {shown(spec.name)}: {spec.library} has no such model ({error})") from error


def _create(spec: Backbone) -> nn.Module:
    """The library's model of that name, which must be in its list: timm takes names that it fetches a model for, and
    some models of torchvision fetch the weights of a part of them unless told not to.
    """
    if spec.library == "timm":
        if not timm.is_model(spec.name) or any(mark in spec.name for mark in ":/\\"):
            raise ValueError("expected a name of its list, and not a place")
        model: nn.Module = timm.create_model(spec.name, pretrained=False)
    else:
        options: dict[str, Any] = {"init_weights": False} if spec.name in SLOW_TO_INITIALISE else {}
        if "weights_backbone" in signature(torchvision.models.get_model_builder(spec.name)).parameters:
            options["weights_backbone"] = None
        model = torchvision.models.get_model(spec.name, weights=None, **options)
    return model.eval()


def _tap(model: nn.Module, spec: Backbone) -> fx.GraphModule:
    """The part of `model` that the tapped stages need; its output is a tuple in the stages' order."""
    nodes = {module: str(order) for order, module in enumerate(_stage_modules(model, spec))}
    library = torchvision_features if spec.library == "torchvision" else timm.models
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NOTE: The nodes obtained")  # the nodes differ in training alone
            graph: fx.GraphModule = library.create_feature_extractor(model, nodes)
        output = next(node for node in graph.graph.nodes if node.op == "output")
        output.args = (tuple(output.args[0][str(order)] for order in range(len(nodes))),)
    except Exception as error:  # the model's own code runs on stand-ins for tensors, and may raise anything
        why = f"{type(error).__name__} {error}".strip()
        raise RecipeError(f"backbone {spec.name!r} cannot be cut at {', '.join(spec.stages)} ({why})") from error
    graph.recompile()
    channels_first(graph)
    return graph


def _take_constants(graph: fx.GraphModule, model: nn.Module, spec: Backbone) -> None:
    """Give `graph` the tensors that are no weights but computed as the model is built or traced, as Swin's indices."""
    weight_names = model.state_dict().keys()
    names = [name for name, _ in graph.named_buffers() if name not in weight_names]
    computed = dict(_tap(_create(spec), spec).named_buffers()) if names else {}
    for name in names:
        owner, _, own = name.rpartition(".")
        setattr(graph.get_submodule(owner), own, computed[name].clone())


def _stage_modules(model: nn.Module, spec: Backbone) -> list[str]:
    """Module names of the tapped stages."""
    if spec.library == "torchvision":
        known = {name for name, _ in model.named_modules() if name}
        modules = {stage: stage for stage in spec.stages if stage in known}
        choices = ", ".join(name for name, _ in model.named_children())
    else:
        info: Any = model.feature_info
        modules = {str(index): entry["module"] for index, entry in enumerate(info)}
        choices = ", ".join(modules)
    missing = [stage for stage in spec.stages if stage not in modules]
    if missing or not spec.stages:
        absent = ", ".join(missing) or "(none named)"
        raise RecipeError(f"backbone {spec.name!r} has no stage {absent}: it has {choices}")
    return [modules[stage] for stage in spec.stages]


def _state(spec: Backbone, model: nn.Module, graph: nn.Module, fetch: Collection[str]) -> dict[str, Tensor]:
    """The state dict of `graph`, from the weights that the recipe names."""
    of_model = model.state_dict()
    constants = {name: tensor for name, tensor in graph.state_dict().items() if name not in of_model}
    needed = {name: tensor for name, tensor in graph.state_dict().items() if name in of_model}
    kind, _, value = spec.weights.partition(":")
    if kind == "random":
        if not SEED.fullmatch(value) or spec.weights_sha256 != weights.random_sha256(int(value)):
            raise WeightsError(f"weights {shown(spec.weights)}: expected random:SEED and the SHA-256 of that text")
        return constants | {name: weights.draw(name, tensor, int(value)) for name, tensor in needed.items()}
    path = locate(spec, fetch)
    size = sum(tensor.nbytes for tensor in of_model.values())
    state = weights.fit_names(weights.read_weights(path, spec.weights_sha256, size), of_model, str(path))
    taken = {name: state[name] for name in needed}
    weights.check_finite(taken, str(path))
    return constants | taken
