"""What a time was measured with, in words."""

import numpy as np
import torch

from patchline.engine.benchmark.ways import backbone_way, search_way
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.openvino import OpenVinoNetwork
from patchline.engine.recipe import Recipe
from patchline.engine.search.flat import TorchSearch

ROWS = np.eye(4, dtype=np.float32)


def test_a_search_is_named_by_its_class() -> None:
    """And by what it says of itself, if anything."""
    index = TorchSearch(ROWS)
    assert search_way(index) == "TorchSearch"

    class Coded(TorchSearch):
        way = "8-bit codes"

    assert search_way(Coded(ROWS)) == "Coded (8-bit codes)"


def test_a_backbone_is_named_by_what_runs_it(recipe: Recipe) -> None:
    """OpenVINO where it does, else torch; with the precision and the device."""
    extractor = load_backbone(recipe.backbone, torch.device("cpu"), "torch")
    assert backbone_way(extractor) == "torch, float32 on cpu"
    extractor._network = object.__new__(OpenVinoNetwork)  # it is asked for its kind only
    assert backbone_way(extractor) == "openvino, float32 on cpu"
