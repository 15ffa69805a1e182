"""A backbone that ends at its last tapped stage: pixels in, patch embeddings out.

The network is traced once; whatever the tapped stages do not need is never given weights and never run. Batch
normalisation is folded into the convolutions, and tensors are channels-last.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from engine import folding, patches, weights
from engine.errors import RecipeError, WeightsError
from engine.inspection import Image
from engine.preprocess import check_image
from engine.recipe import Backbone


class FeatureExtractor:
    """Patch embeddings of prepared images. One thread at a time may use it.

    `dimensions` is D, the length of an embedding.
    """

    def __init__(self, spec: Backbone, network: nn.Module, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.dtype = torch.float32 if device.type == "cpu" else torch.float16
        self._network = network.to(device, self.dtype).to(memory_format=torch.channels_last)
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def embed(self, images: Sequence[Image]) -> tuple[Tensor, tuple[int, int]]:
        """Patch embeddings of images of one size.

        On the CPU each image goes through alone, so its embedding does not depend on the batch, bit for bit.

        Args:
            images: RGB uint8 (H, W, 3) each, all of one size.

        Returns:
            float32 (B, h*w, D) on the extractor's device, and the grid (h, w).

        Raises:
            ImageError: an image is not RGB uint8.
        """
        for image in images:
            check_image(image)
        step = 1 if self.device.type == "cpu" else len(images)
        parts = [self._embed(np.stack(images[start : start + step])) for start in range(0, len(images), step)]
        return torch.cat([embeddings for embeddings, _ in parts]), parts[0][1]

    def _embed(self, pixels: NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
        embeddings, grid = patches.embed(self.feature_maps(self.normalise(pixels)))
        return embeddings.float(), grid

    @torch.inference_mode()
    def normalise(self, pixels: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 (B, H, W, 3) to what the network takes, (B, 3, H, W) channels-last on its device."""
        x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
        return ((x.float() - self._mean) / self._std).to(self.dtype)

    @torch.inference_mode()
    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The bare backbone: one (B, C_i, h_i, w_i) for each tapped stage."""
        maps: list[Tensor] = self._network(x)
        return maps

    def grid(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """The patch grid (h, w) of an image of `size_px`, (H, W)."""
        return self.embed([np.zeros((*size_px, 3), dtype=np.uint8)])[1]


def load_backbone(spec: Backbone, device: torch.device) -> FeatureExtractor:
    """Build a backbone up to its last tapped stage and load its weights.

    Raises:
        RecipeError: the library has no such backbone, or the backbone no such stage.
        WeightsError: the weights are missing, altered or do not fit.
    """
    with torch.device("meta"):
        model = _architecture(spec)
    graph = _tap(model, spec)
    graph.load_state_dict(_state(spec, model, graph), strict=True, assign=True)
    graph.eval().requires_grad_(False)
    return FeatureExtractor(spec, folding.fold(graph), device)


def _architecture(spec: Backbone) -> nn.Module:
    try:
        if spec.library == "torchvision":
            model: nn.Module = torchvision.models.get_model(spec.name, weights=None)
        else:
            model = timm.create_model(spec.name, pretrained=False)
    except (ValueError, RuntimeError) as error:
        raise RecipeError(f"backbone {spec.name!r}: {spec.library} has no such model ({error})") from error
    return model.eval()


def _tap(model: nn.Module, spec: Backbone) -> fx.GraphModule:
    """The part of `model` that the tapped stages need; its output is a tuple in the stages' order."""
    nodes = {module: str(order) for order, module in enumerate(_stage_modules(model, spec))}
    if spec.library == "torchvision":
        from torchvision.models.feature_extraction import create_feature_extractor
    else:
        from timm.models import create_feature_extractor
    try:
        graph: fx.GraphModule = create_feature_extractor(model, nodes)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"backbone {spec.name!r} cannot be cut at {', '.join(spec.stages)}: {error}") from error
    output = next(node for node in graph.graph.nodes if node.op == "output")
    output.args = (tuple(output.args[0][str(order)] for order in range(len(nodes))),)
    graph.recompile()
    return graph


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


def _state(spec: Backbone, model: nn.Module, graph: nn.Module) -> dict[str, Tensor]:
    """The state dict of `graph`, from the weights that the recipe names."""
    needed = graph.state_dict()
    kind, _, value = spec.weights.partition(":")
    if kind == "random":
        if not value.isdigit() or spec.weights_sha256 != weights.random_sha256(int(value)):
            raise WeightsError(f"weights {spec.weights!r}: expected random:SEED and the SHA-256 of that text")
        return {name: weights.draw(name, tensor, int(value)) for name, tensor in needed.items()}
    path = weights.locate(spec)
    state = weights.fit_names(weights.read_weights(path, spec.weights_sha256), model.state_dict(), str(path))
    return {name: state[name] for name in needed}
