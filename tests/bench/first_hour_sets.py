"""The two sets of the first hour: good images and defects, each piece under one light, embedded once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import EFFICIENTNET_LITE0, pinned
from patchline.engine.types import Image
from tests.bench import workload
from tests.bench.bench import Bench

FILES = {"magnetic_tile": "exp1_*", "mvtec_bottle": "*"}
"""Which files of a set: of tiles those under light 1, so that every frame is another piece."""


@dataclass(frozen=True)
class Set:
    """The images of a set: `train` and `test` are good ones, of other pieces, as the set itself divides them."""

    name: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    defects: tuple[Path, ...]


def set_of(bench: Bench, name: str) -> Set:
    """A set by its name; in a quick run of few images."""
    folder, some = bench.data / name, slice(16 if bench.quick else None)
    test = sorted((folder / "test").glob(f"*/{FILES[name]}"))
    good = [path for path in test if path.parent.name == workload.GOOD]
    defects = [path for path in test if path.parent.name != workload.GOOD]
    train = sorted((folder / "train" / workload.GOOD).glob(FILES[name]))
    if bench.quick:
        defects = defects[:: len(defects) // 16]
    return Set(name, tuple(train[: 60 if bench.quick else None]), tuple(good[some]), tuple(defects))


def embedded(bench: Bench, name: str, images: Sequence[Image]) -> NDArray[np.float32]:
    """Patch embeddings of prepared images, float32 (F, P, D), by EfficientNet-Lite0, strides 8 and 16; kept by name."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(image.tobytes()).digest() for image in images))
    digest.update(repr(pinned(EFFICIENTNET_LITE0)).encode())
    kept = bench.build / f"first-hour-{name}-{digest.hexdigest()[:12]}.npy"
    if not kept.exists():
        extractor = load_backbone(pinned(EFFICIENTNET_LITE0), torch.device("cpu"))
        np.save(kept, np.concatenate([extractor.embed([image])[0].numpy() for image in images]))
    found: NDArray[np.float32] = np.load(kept)
    return found
