"""Patch embeddings of fitted frames as a bank stores them, made once and kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.fitting.scratch import EmbeddingFile
from patchline.engine.types import Rows
from tests.bench import workload
from tests.bench.bench import Bench


def efficientnet_lite0(*stages: str) -> workload.Weights:
    """EfficientNet-Lite0 tapped at other stages: indices of timm's `feature_info`."""
    weights = workload.efficientnet_lite0()
    layers = tuple(int(stage) for stage in stages)
    return replace(weights, spec=msgspec.structs.replace(weights.spec, stages=stages), layers=layers)


def stored_patches(bench: Bench, weights: workload.Weights, paths: Sequence[Path]) -> tuple[Rows, float]:
    """All patches of images as int16 (N, D), memory-mapped, and their scale."""
    what = "|".join([repr(weights.spec), *map(str, paths)])
    kept = bench.build / f"patches-{hashlib.sha256(what.encode()).hexdigest()[:12]}.npy"
    scale_kept = kept.with_suffix(".scale")
    if not scale_kept.exists():
        bench.say(f"embedding {len(paths)} frames, once ...")
        extractor = load_backbone(weights.spec, torch.device("cpu"))
        dimensions = extractor.embed([workload.read(paths[0])])[0].shape[2]
        with EmbeddingFile(kept.with_suffix(".partial"), dimensions) as file:
            for path in paths:
                file.append(extractor.embed([workload.read(path)])[0][0].numpy())
            np.save(kept, file.rows())
            scale_kept.write_text(repr(file.scale))
    return np.load(kept, mmap_mode="r"), float(scale_kept.read_text())
