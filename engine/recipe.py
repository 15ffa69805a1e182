"""A recipe: how one product view is inspected. It travels inside the memory bank's manifest."""

from typing import Any, Literal

import msgspec

LATER_OPTIONS = frozenset(
    {
        "tiling",
        "projection",
        "row_budget",
        "admission",
        "hold_slips",
        "unused_days",
        "levelling",
        "centring",
        "patch_stride_px",
        "score_patches",
        "stream_scores",
    }
)
"""Options that banks were made without: at their defaults a bank does not name them, and is what it was before."""


class Backbone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feature extractor by name, with the preprocessing that belongs to its weights.

    `mean` and `std` are per RGB channel, in the units of uint8 pixels: input = (pixel - mean) / std.
    """

    library: Literal["torchvision", "timm"] = "torchvision"
    name: str = "wide_resnet50_2"
    stages: tuple[str, ...] = ("layer2", "layer3")
    """Tapped stages: module names in torchvision, indices of `feature_info` ("1", "2") in timm."""
    weights: str
    """The library's name for the weights (`IMAGENET1K_V1`), `file:PATH`, `package:NAME`, or `random:SEED` (tests)."""
    weights_sha256: str
    """SHA-256 of the weights as loaded, 64 hexadecimal digits: loading refuses any other."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Tiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Square tiles of a large frame, in pixels of the recipe's image size; neighbours share `overlap_px` or more."""

    tile_px: int = 512
    overlap_px: int = 128


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one product view is inspected.

    `image_size_px` is (H, W) of what the backbone sees; frames are resized to it.
    """

    name: str
    backbone: Backbone
    image_size_px: tuple[int, int] = (224, 224)
    coreset_fraction: float = 0.01
    """Rows kept, as a share of all patches of the good images."""
    false_reject_rate: float = 0.01
    """The share of good frames that the threshold may reject (alpha of the split-conformal quantile)."""
    neighbours: int = 9
    """b of Eq. 7: neighbours of the nearest row m*, m* among them."""
    smoothing_sigma: float = 4.0
    """Gaussian of the anomaly map, in pixels at 224 px; it grows in proportion to the image's height."""
    seed: int = 0
    tiling: Tiling | None = None
    """None: the backbone sees the whole frame at once."""
    projection: int | None = None
    """The coreset is chosen in this many random dimensions (Algorithm 1's Johnson-Lindenstrauss); None: in all."""
    row_budget: int | None = None
    """Rows that learning may keep at most; None: 4 times the fit's, or 10,000 where that is more."""
    admission: float = 0.85
    """A confirmed frame's patch joins the bank where it lies farther from it than this share of the fit's covering
    radius, 0.5 to 1: a smaller share would void the proven covering radius (`coreset.online`).
    """
    levelling: bool = False
    """Each frame is first scaled to one median grey, so that exposure leaves no trace (`features.illumination`)."""
    centring: bool = False
    """Of each channel of a frame's feature maps its own mean is taken: what the light adds to all of it alike."""
    patch_stride_px: int | None = None
    """Pixels between patches; stages that are finer are averaged over area. None: as the finest tapped stage."""
    score_patches: int = 1
    """1: a frame scores by its farthest patch (Eq. 6-7). More: the mean distance of so many farthest patches."""
    stream_scores: bool = False
    """A learned threshold rests on the stream's good frames too, as first seen: it follows the line, and promises no
    rate (`bank.learned_threshold`).
    """
    hold_slips: float | None = None
    """The share of defects, confirmed as good by mistake, that wait for a second person, by their likeness to known
    ones (`learning.doubt`); good frames wait too. None: only what would hide a known defect waits.
    """
    unused_days: int | None = None
    """Rows that were no frame's nearest on this many days of inspection age out (`learning.ageing`); None: never."""


def stated(recipe: Recipe) -> dict[str, Any]:
    """What a bank says of its recipe: all but the later options that it does not use.

    So its SHA-256 is what it was before there were such options, and earlier releases read it.
    """
    content: dict[str, Any] = msgspec.to_builtins(recipe)
    for option in msgspec.structs.fields(Recipe):
        if option.name in LATER_OPTIONS and getattr(recipe, option.name) == option.default:
            del content[option.name]
    return content
