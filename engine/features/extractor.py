"""A backbone that ends at its last tapped stage: pixels in, patch embeddings out.

`load_backbone` builds the network, folds its batch normalisation into its convolutions (`features.batch_norm`) and
chooses what runs it; see the room's `__init__`. Tensors are channels-last throughout.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

from patchline.engine.errors import RecipeError
from patchline.engine.features import batch_norm, fusion_cuda, network, openvino, patches
from patchline.engine.features.cpu import fusion, winograd
from patchline.engine.features.cpu.frames_together import FramesTogether
from patchline.engine.features.cuda_graph import Launch
from patchline.engine.features.device_pipeline import DevicePass, chunk_size
from patchline.engine.features.feature_maps import as_map
from patchline.engine.features.fusion_cuda import COLOURS
from patchline.engine.features.patches import PLAIN, PatchOptions
from patchline.engine.features.preprocess import check_image, level
from patchline.engine.features.quantisation import bfloat16, int8, processor
from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import shared_pool, spread_runs, submit
from patchline.engine.numerics.device import Precision, backbone_dtype, can_compile_kernels, full_float32
from patchline.engine.numerics.runs import LENGTHS
from patchline.engine.recipe import Backbone
from patchline.engine.types import Image

Runtime: TypeAlias = Literal["auto", "torch", "openvino"]
"""What runs the network on a CPU: `auto` is OpenVINO where it is installed and faster. A GPU always has torch."""
Network: TypeAlias = Callable[[Tensor], Sequence[Tensor]]


class FeatureExtractor:
    """Makes patch embeddings of prepared images. On a CPU any number of threads may use it, on a GPU one at a time.

    Args:
        spec: the backbone as the recipe names it.
        network: takes (B, channels, H, W), channels-last, to one output for each tapped stage.
        device: where the network computes.
        dtype: what it computes in.
        weight_bytes: bytes of weights that a forward pass reads.
        channels: what the network takes: 3, or more, whose values are zeros.
    """

    def __init__(
        self,
        spec: Backbone,
        network: Network,
        device: torch.device,
        dtype: torch.dtype,
        weight_bytes: int,
        channels: int = COLOURS,
    ) -> None:
        self.spec = spec
        self.device = device
        self.dtype = dtype
        self.weight_bytes = weight_bytes
        self.joins = isinstance(network, FramesTogether)
        """Whether frames that one core takes together cost less than one by one."""
        self._network = network
        self._channels = channels
        self._alike: dict[tuple[tuple[int, ...], PatchOptions], bool] = {}
        self._mean = torch.tensor(spec.mean, device=device)
        self._std = torch.tensor(spec.std, device=device)
        self._fuses = can_compile_kernels(device)
        self._grids: dict[tuple[tuple[int, ...], PatchOptions], tuple[int, int]] = {}
        self._passes: dict[PatchOptions, DevicePass] = {}

    @torch.inference_mode()
    def embed(self, images: Sequence[Image], options: PatchOptions = PLAIN) -> tuple[Tensor, tuple[int, int]]:
        """Patch embeddings of images of one size.

        On the CPU an image goes through on a core of its own, or with others of the batch on one core, or on all cores:
        its embedding is bit for bit what it would be alone.

        Args:
            images: RGB uint8 (H, W, 3) each, all of one size.
            options: what the recipe asks of its patches.

        Returns:
            float32 (B, h*w, D) on the extractor's device, and the grid (h, w).

        Raises:
            ImageError: an image is not RGB uint8.
        """
        if self.device.type != "cpu":
            for image in images:
                check_image(image)
            embeddings, grid = self.embed_batch(images, options)
            return embeddings.float(), grid
        kinds = [0] * len(images) if self.joins else range(len(images))
        parts = spread_runs(
            lambda run: self.embed_here(run, options),
            images,
            lambda: self.bits_alike(images[0].shape[:2], options),
            kinds,
        )
        return torch.cat([embeddings for embeddings, _ in parts]), parts[0][1]

    @torch.inference_mode()
    def embed_here(
        self, images: Sequence[Image], options: PatchOptions = PLAIN
    ) -> list[tuple[Tensor, tuple[int, int]]]:
        """Patch embeddings of images of one size on a CPU, by the thread that calls: for each float32 (1, h*w, D), bit
        for bit what it has alone, and the grid (h, w). Raises as `embed`.
        """
        for image in images:
            check_image(image)
        if options.levelling:
            images = [level(image) for image in images]
        of_each = self.feature_maps_of([self.normalise(image[None]) for image in images])
        H, W = images[0].shape[:2]
        made = [patches.embed(feature_maps, (H, W), options) for feature_maps in of_each]
        return [(embeddings.float(), grid) for embeddings, grid in made]

    def embed_batch(self, images: Sequence[Image], options: PatchOptions = PLAIN) -> tuple[Tensor, tuple[int, int]]:
        """The same in whole batches, on any device, in the extractor's precision, without waiting for the device.

        The last bits of an embedding may depend on the batch.
        """
        if options.levelling:
            images = [level(image) for image in images]
        embeddings = self._pass(options)(images)
        return embeddings, self._grids[images[0].shape[:2], options]

    def launches(self, images: Sequence[Image], options: PatchOptions = PLAIN) -> list[Launch]:
        """What `embed_batch` computes once images are on the device, to be timed: see `DevicePass.launches`."""
        return self._pass(options).launches(images)

    def batch_size(self, size_px: tuple[int, int]) -> int:
        """How many images of `size_px`, (H, W), keep the device busy: more would take memory and gain nothing."""
        if self.device.type != "cpu":
            return chunk_size(size_px)
        return torch.get_num_threads() * (LENGTHS[-1] if self.joins else 1)

    def bits_alike(self, size_px: tuple[int, ...], options: PatchOptions = PLAIN) -> bool:
        """Whether one core and all cores together give an image of `size_px`, (H, W), the same embeddings bit for bit.

        The order of their sums does not depend on the pixels, so one noisy image shows it.
        """
        if (size_px, options) not in self._alike:
            noise = [np.random.default_rng(0).integers(0, 256, (*size_px, 3), dtype=np.uint8)]
            ((alone,),) = shared_pool(torch.get_num_threads()).map(lambda run: self.embed_here(run, options), [noise])
            (shared,) = self.embed_here(noise, options)
            self._alike[size_px, options] = torch.equal(alone[0], shared[0])
        return self._alike[size_px, options]

    def _pass(self, options: PatchOptions) -> DevicePass:
        if options not in self._passes:
            self._passes[options] = DevicePass(partial(self._embeddings, options), self.device)
        return self._passes[options]

    def _embeddings(self, options: PatchOptions, pixels: Tensor) -> Tensor:
        """Take pixels on the device, uint8 (B, H, W, 3), to embeddings (B, h*w, D), and note their grid."""
        H, W = pixels.shape[1:3]
        feature_maps = self.feature_maps(self._normalised(pixels))
        embeddings, self._grids[(H, W), options] = self._patches(feature_maps, (H, W), options)
        return embeddings

    def _patches(
        self, feature_maps: Sequence[Tensor], size_px: tuple[int, int], options: PatchOptions
    ) -> tuple[Tensor, tuple[int, int]]:
        """`patches.embed`, by kernels where they can do it."""
        if self._fuses:
            from patchline.engine.features import patches_cuda  # it needs Triton

            if patches_cuda.supports(feature_maps, options):
                return patches_cuda.embed_by_kernels(feature_maps)
        return patches.embed(feature_maps, size_px, options)

    @torch.inference_mode()
    def normalise(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Take RGB uint8 (B, H, W, 3) to the network's input, (B, C, H, W) channels-last on its device."""
        # A copy, as torch warns of memory that it may not write to, which frames often are.
        return self._normalised(torch.tensor(pixels, device=self.device))

    def _normalised(self, pixels: Tensor) -> Tensor:
        if self._fuses:
            from patchline.engine.features import patches_cuda  # it needs Triton

            return patches_cuda.normalise(pixels, self._mean, self._std, self._channels, self.dtype)
        x = pixels.permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
        x = ((x.float() - self._mean.view(3, 1, 1)) / self._std.view(3, 1, 1)).to(self.dtype)
        return x if self._channels == x.shape[1] else pad(x, (0, 0, 0, 0, 0, self._channels - x.shape[1]))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Run the bare backbone: one map (B, C_i, h_i, w_i) for each tapped stage.

        Raises:
            RecipeError: the network does not take images of this size, as many transformers take one size only.
        """
        return self.feature_maps_of([x])[0]

    @torch.inference_mode()
    def feature_maps_of(self, frames: Sequence[Tensor]) -> list[list[Tensor]]:
        """`feature_maps` of each of some inputs of one shape, bit for bit those that it has alone; raises the same."""
        size_px = (frames[0].shape[2], frames[0].shape[3])
        try:
            with full_float32(self.device):
                if isinstance(self._network, FramesTogether):
                    of_each = self._network.of_frames(frames)
                else:
                    of_each = [self._network(x) for x in frames]
        except AssertionError as error:
            raise RecipeError(
                f"backbone {self.spec.name!r} does not take images of {size_px[0]} x {size_px[1]} px ({error})"
            ) from error
        return [
            [as_map(output, size_px, stage) for output, stage in zip(outputs, self.spec.stages, strict=True)]
            for outputs in of_each
        ]

    def prepare_runs(self, size_px: tuple[int, int]) -> None:
        """Find out how one core takes several images of `size_px`, (H, W), together, before any waits for it."""
        network = self._network
        if isinstance(network, FramesTogether):
            x = self.normalise(np.zeros((1, *size_px, 3), dtype=np.uint8))
            submit(lambda: network.prepare(x)).result()

    def grid(self, size_px: tuple[int, int], options: PatchOptions = PLAIN) -> tuple[int, int]:
        """The patch grid (h, w) of an image of `size_px`, (H, W)."""
        return self.embed([np.zeros((*size_px, 3), dtype=np.uint8)], options)[1]


def load_backbone(
    spec: Backbone,
    device: torch.device,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    fetch: Collection[str] = (),
) -> FeatureExtractor:
    """Build a backbone up to its last tapped stage and load its weights.

    Args:
        spec: the backbone as the recipe names it.
        device: where it computes.
        runtime: what runs it on a CPU.
        precision: how the device computes a backbone in float32.
        fetch: the weights that may be downloaded (`weights.locate`).

    Raises:
        DeviceError: OpenVINO is asked for and not installed, or the device cannot compute in the backbone's precision.
        RecipeError: the library has no such backbone, or the backbone no such stage, or no ranges in int8.
        WeightsError: the weights are missing, altered, not finite or do not fit.
    """
    processor.check(spec, device, runtime, precision)
    graph = batch_norm.fold(network.build(spec, fetch))
    dtype = backbone_dtype(device, precision)
    graph = graph.to(device, dtype)
    weight_bytes = sum(parameter.nbytes for parameter in graph.parameters())
    if spec.precision != "float32":
        weight_bytes //= 4 if spec.precision == "int8" else 2
        return FeatureExtractor(spec, _lower_precision(graph, spec), device, dtype, weight_bytes)
    runnable = _network(graph, device, runtime)
    channels = fusion_cuda.widen_input(graph) if device.type == "cuda" else COLOURS
    return FeatureExtractor(spec, runnable, device, dtype, weight_bytes, channels)


def count_flop(spec: Backbone, size_px: tuple[int, int]) -> int:
    """Floating-point operations of the bare backbone for one image of `size_px`, (H, W); nothing is computed."""
    outlined = network.outline(spec)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        outlined(torch.empty(1, 3, *size_px, device="meta"))
    return int(counter.get_total_flops())


def _lower_precision(graph: fx.GraphModule, spec: Backbone) -> Network:
    """The network in the precision that the backbone states, on the CPU."""
    return (
        int8.to_int8(int8.join_convolutions(graph), spec)
        if spec.precision == "int8"
        else bfloat16.Bfloat16Network(graph)
    )


def _network(graph: fx.GraphModule, device: torch.device, runtime: Runtime) -> Network:
    """The network in the form that runs fastest on the device, or in that which was asked for."""
    if device.type == "cpu" and (runtime == "openvino" or (runtime == "auto" and _suits_openvino(graph))):
        return openvino.OpenVinoNetwork(graph)
    for parameter in graph.parameters():  # not `graph.to`, which stops at constants of five dimensions
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if device.type == "cuda":
        return fusion_cuda.fuse_for_cuda(graph)
    return FramesTogether(fusion.fuse_for_cpu(graph)) if onednn.available() else graph


def _suits_openvino(graph: fx.GraphModule) -> bool:
    """Whether OpenVINO is installed and faster: its depthwise convolutions are, but it has no Winograd filtering."""
    convolutions = (module for module in graph.modules() if isinstance(module, nn.Conv2d))
    return openvino.installed() and not any(winograd.fits(convolution) for convolution in convolutions)
