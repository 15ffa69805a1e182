"""Judges frames: one backbone pass for all recipes that share it, then each recipe's own bank."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.anomaly_map import anomaly_map
from engine.backbone import FeatureExtractor, load_backbone
from engine.device import resolve_device
from engine.errors import ImageError, RecipeError
from engine.inspection import Image, Inspection, Verdict
from engine.memory_bank import MemoryBank
from engine.preprocess import prepare
from engine.recipe import Backbone
from engine.scoring import Scorer
from engine.search import SearchKind, make_search

Maps: TypeAlias = Literal["none", "rejects", "all"]
"""For which frames an anomaly map is made: passes seldom need one."""
Pass: TypeAlias = tuple[Backbone, tuple[int, int]]
"""What frames must share to go through the backbone together: its specification and the image size."""


class Inspector:
    """Inspects frames with the memory banks of one or more recipes.

    `prepare` may be called from any thread; everything else belongs to one thread at a time.

    Args:
        banks: the bank of each recipe, by the name under which frames ask for it.
        device: `auto`, `cpu` or `cuda[:N]`.
        search: how nearest rows are found; every kind gives the same distances.

    Raises:
        RecipeError, WeightsError, DeviceError: as in `load_backbone` and `resolve_device`.
    """

    def __init__(self, banks: Mapping[str, MemoryBank], *, device: str = "auto", search: SearchKind = "auto") -> None:
        self._device = resolve_device(device)
        self._backbones: dict[Backbone, FeatureExtractor] = {}
        self._judges: dict[str, _Judge] = {}
        for name, bank in banks.items():
            spec = bank.recipe.backbone
            if spec not in self._backbones:
                self._backbones[spec] = load_backbone(spec, self._device)
            self._judges[name] = _Judge(name, bank, search, str(self._device))

    @property
    def recipes(self) -> Mapping[str, MemoryBank]:
        """The bank of each recipe."""
        return {name: judge.bank for name, judge in self._judges.items()}

    def prepare(self, recipe: str, image: Image) -> Image:
        """Bring an RGB uint8 (H, W, 3) frame to its recipe's size.

        Raises:
            RecipeError: no bank of that recipe is loaded.
            ImageError: `image` is not RGB uint8 (H, W, 3).
        """
        return prepare(image, self._judge(recipe).bank.recipe.image_size_px)

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        """Judge frames, each a recipe's name and an image from `prepare`, in the order given.

        Raises:
            RecipeError: no bank of a frame's recipe is loaded.
            ImageError: an image is not of its recipe's size.
        """
        shared: dict[Pass, list[int]] = {}
        for position, (recipe, image) in enumerate(frames):
            bank = self._judge(recipe).bank
            size_px = bank.recipe.image_size_px
            if image.shape[:2] != size_px:
                raise ImageError(f"recipe {recipe!r}: expected a prepared image of {size_px}, found {image.shape}")
            shared.setdefault((bank.recipe.backbone, size_px), []).append(position)
        inspections: dict[int, Inspection] = {}
        for (spec, _), positions in shared.items():
            embeddings, grid = self._backbones[spec].embed([frames[position][1] for position in positions])
            for position, patches in zip(positions, embeddings.cpu().numpy(), strict=True):
                inspections[position] = self._judge(frames[position][0]).judge(patches, grid, maps)
        return [inspections[position] for position in range(len(frames))]

    def warm_up(self) -> None:
        """Inspect one blank frame of every recipe, so that the first real one is not slow."""
        blank = [(name, np.zeros((*b.recipe.image_size_px, 3), dtype=np.uint8)) for name, b in self.recipes.items()]
        self.inspect(blank, maps="all")

    def _judge(self, recipe: str) -> "_Judge":
        try:
            return self._judges[recipe]
        except KeyError:
            known = ", ".join(sorted(self._judges)) or "none"
            raise RecipeError(f"recipe {recipe!r} has no memory bank here; loaded: {known}") from None


class _Judge:
    """One recipe's bank with an index over it."""

    def __init__(self, name: str, bank: MemoryBank, search: SearchKind, device: str) -> None:
        self.bank = bank
        self._name = name
        rows = bank.values()
        self._index = make_search(search, rows, device)
        self._scorer = Scorer(rows, self._index, bank.recipe.neighbours)

    def judge(self, embeddings: NDArray[np.float32], grid: tuple[int, int], maps: Maps) -> Inspection:
        """Judge the patches of one frame, float32 (h*w, D)."""
        recipe = self.bank.recipe
        distances, nearest = self._index.search(embeddings, 1)
        score = self._scorer.score(embeddings, distances[:, 0], nearest[:, 0])
        rejected = score.value > self.bank.threshold
        wanted = maps == "all" or (maps == "rejects" and rejected)
        patch_scores = distances[:, 0].reshape(grid)
        row, column = divmod(score.worst_patch, grid[1])
        return Inspection(
            recipe=self._name,
            generation=self.bank.generation,
            generation_sha256=self.bank.sha256,
            threshold=self.bank.threshold,
            score=score.value,
            verdict=Verdict.REJECT if rejected else Verdict.PASS,
            grid=grid,
            worst_patch=(row, column),
            nearest_row=score.nearest_row,
            anomaly_map=anomaly_map(patch_scores, recipe.image_size_px, recipe.smoothing_sigma) if wanted else None,
        )
