"""A recipe: how one product view is inspected, what a bank says of it, and which recipes cannot be.

It travels inside the memory bank's manifest, so `stated` decides what a bank's SHA-256 covers.
"""

import math
import re
from typing import Any, Literal

import msgspec

from patchline.engine.errors import RecipeError, shown


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
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """What the network computes in. Scores and threshold rest on it, so every processor that judges by the bank does
    the same, or says that it cannot (`features.quantisation`). A float32 network may run in half precision on a GPU.
    """
    ranges: tuple[tuple[str, float, float], ...] = ()
    """With int8: a tensor's name, its smallest and its largest value that 8 bits tell apart; `fit` observes them."""


class Tiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Square tiles of a large frame, in pixels of the recipe's image size; neighbours share `overlap_px` or more."""

    tile_px: int = 512
    overlap_px: int = 128


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one product view is inspected.

    `image_size_px` is (H, W) of what the backbone sees; frames are resized to it.

    Example:
        >>> from patchline.engine import Recipe, preset
        >>> recipe = Recipe(name="bottle", backbone=preset("efficientnet_lite0"), false_reject_rate=0.05)
        >>> recipe.image_size_px, recipe.coreset_fraction
        ((224, 224), 0.01)
    """

    name: str
    backbone: Backbone
    image_size_px: tuple[int, int] = (224, 224)
    coreset_fraction: float = 0.01
    """Rows kept, as a share of all patches of the good images; no fewer than `least_rows`."""
    false_reject_rate: float = 0.05
    """The share of good frames that the threshold aims to reject. Of a bank it is the rate taken: where the good images
    were too few for what was asked, the lowest that they can aim at (`bank.calibration`).
    """
    neighbours: int = 9
    """b of Eq. 7: neighbours of the nearest row m*, m* among them."""
    smoothing_sigma: float = 4.0
    """Gaussian of the anomaly map, in pixels at 224 px; it grows in proportion to the image's height."""
    seed: int = 0
    """Deals the folds, draws the calibration frames and the coreset's first rows."""
    tiling: Tiling | None = None
    """None: the backbone sees the whole frame at once."""
    projection: int | None = None
    """The coreset is chosen in this many random dimensions (Algorithm 1's Johnson-Lindenstrauss); None: in all."""
    least_rows: int = 1500
    """Rows that a fit keeps at least, but no more than half of the patches: a share of few images would be too few."""
    row_budget: int | None = None
    """Rows that learning may keep at most; None: 4 times the fit's, or 10,000 where that is more."""
    admission: float = 0.85
    """A confirmed frame's patch joins the bank where it lies farther from it than this share of the fit's covering
    radius, 0.5 to 1: a smaller share would void the proven covering radius (`coreset.online`).
    """
    levelling: bool = False
    """Each frame is first scaled to one median grey, so that exposure leaves no trace (`features.preprocess`)."""
    centring: bool = False
    """Each channel of a frame's feature maps is reduced by its own mean: what the light adds to all of it alike."""
    patch_stride_px: int | None = None
    """Pixels between patches; stages that are finer are averaged over area. None: as the finest tapped stage."""
    score_patches: int = 1
    """1: a frame scores by its farthest patch (Eq. 6-7). More: the mean distance of so many farthest patches."""
    stream_scores: bool = False
    """A learned threshold rests on the stream's good frames too, as first seen: it follows the line, and promises no
    rate (`bank.calibration`).
    """
    hold_slips: float | None = None
    """The share of defects, confirmed as good by mistake, that shall wait for a second person, told by their likeness
    to known defects (`learning.doubt`); some good frames wait too. None: only what would hide a known defect
    waits.
    """
    unused_days: int | None = None
    """Rows that were no frame's nearest on this many days of inspection age out (`learning.ageing`); None: never."""


MOST_PIXELS, MOST_PIXELS_AT_ONCE = 2**27, 2**25
"""Pixels of the recipe's image size, and of what goes through the backbone at once: the whole frame, or a tile."""
LARGEST_SIGMA = 224.0
"""A Gaussian as wide as the image (`Recipe.smoothing_sigma`)."""
LARGEST_NUMBER = 2**53
"""Whole numbers up to here are exact wherever a recipe goes: in JSON, and in float64."""
SHA256 = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 as text."""

LATER_OPTIONS = frozenset(
    {
        "tiling",
        "projection",
        "least_rows",
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
"""Options that came after the first banks: at their defaults a bank does not name them (`stated`)."""
LATER_OPTIONS_OF_BACKBONES = frozenset({"precision", "ranges"})
"""The same of a backbone."""


def stated(recipe: Recipe) -> dict[str, Any]:
    """What a bank says of its recipe: all options, but for the later ones that are at their defaults.

    So a bank that uses none of them has the SHA-256 that it had before they existed, and earlier releases read it.
    """
    content: dict[str, Any] = msgspec.to_builtins(recipe)
    _leave_out(content, recipe, LATER_OPTIONS)
    _leave_out(content["backbone"], recipe.backbone, LATER_OPTIONS_OF_BACKBONES)
    return content


def _leave_out(content: dict[str, Any], stating: msgspec.Struct, later: frozenset[str]) -> None:
    """Delete the later options that are at their defaults."""
    for option in msgspec.structs.fields(stating):
        if option.name in later and getattr(stating, option.name) == option.default:
            del content[option.name]


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError where an option lies outside its range, whatever the backbone.

    A fit asks it of what it is given, and a bank that is read is asked the same. Only names can be so wrong that
    the machine at hand must be asked: `features.network` does.
    """
    name = f"recipe {shown(recipe.name)}"
    if not recipe.name.strip() or not recipe.name.isprintable():
        raise RecipeError(f"{name}: name is blank or not printable, expected letters or figures")
    _check_backbone(name, recipe.backbone)
    _check_size(name, recipe)
    if not 0 <= recipe.seed <= LARGEST_NUMBER:
        raise RecipeError(f"{name}: seed is {shown(recipe.seed)}, expected 0 or more, at most 2^53")
    if not 0 < recipe.coreset_fraction <= 1:
        raise RecipeError(f"{name}: coreset_fraction is {recipe.coreset_fraction:g}, expected more than 0, at most 1")
    if not 0 <= recipe.smoothing_sigma <= LARGEST_SIGMA:
        raise RecipeError(
            f"{name}: smoothing_sigma is {recipe.smoothing_sigma:g}, expected 0 or more, at most {LARGEST_SIGMA:g}"
        )
    for option in ("neighbours", "projection", "score_patches", "row_budget", "unused_days"):
        number = getattr(recipe, option)
        if number is not None and not 1 <= number <= LARGEST_NUMBER:
            raise RecipeError(f"{name}: {option} is {shown(number)}, expected 1 or more, at most 2^53")
    if recipe.patch_stride_px is not None and not 1 <= recipe.patch_stride_px <= min(recipe.image_size_px):
        raise RecipeError(
            f"{name}: patch_stride_px is {shown(recipe.patch_stride_px)}, expected 1 px to the image's size"
        )
    if not 0 <= recipe.least_rows <= LARGEST_NUMBER:
        raise RecipeError(f"{name}: least_rows is {shown(recipe.least_rows)}, expected 0 or more, at most 2^53")
    if not 0.5 <= recipe.admission <= 1:
        raise RecipeError(f"{name}: admission is {recipe.admission:g}, expected 0.5 to 1")
    if recipe.hold_slips is not None and not 0 < recipe.hold_slips < 1:
        raise RecipeError(f"{name}: hold_slips is {recipe.hold_slips:g}, expected between 0 and 1")
    if not 0 < recipe.false_reject_rate < 1:
        raise RecipeError(f"{name}: false_reject_rate is {recipe.false_reject_rate:g}, expected between 0 and 1")


def _check_backbone(name: str, backbone: Backbone) -> None:
    """Raise RecipeError where numbers of a backbone lie outside their range; `name` says whose it is."""
    if not all(map(math.isfinite, backbone.mean)):
        raise RecipeError(f"{name}: mean is {backbone.mean}, expected finite numbers, one a channel")
    if not all(0 < spread < math.inf for spread in backbone.std):
        raise RecipeError(f"{name}: std is {backbone.std}, expected finite numbers above 0, one a channel")
    if not SHA256.fullmatch(backbone.weights_sha256):
        raise RecipeError(
            f"{name}: weights_sha256 is {shown(backbone.weights_sha256)}, expected 64 hexadecimal digits in lower case"
        )
    for tensor, low, high in backbone.ranges:
        if backbone.precision != "int8" or not -math.inf < low <= high < math.inf:
            raise RecipeError(
                f"{name}: the range of {shown(tensor)} is {low:g} to {high:g} with precision {backbone.precision}, "
                f"expected finite numbers that rise, and int8"
            )


def _check_size(name: str, recipe: Recipe) -> None:
    """Raise RecipeError where frames would be too small or too large; `name` says whose they are."""
    H, W = recipe.image_size_px
    if min(H, W) < 32:
        raise RecipeError(f"{name}: image_size_px is {shown(recipe.image_size_px)}, expected (H, W) of 32 or more each")
    if max(H, W) > MOST_PIXELS or H * W > MOST_PIXELS:
        raise RecipeError(
            f"{name}: image_size_px is {shown(recipe.image_size_px)}, expected (H, W) of {MOST_PIXELS:,} pixels at most"
        )
    if recipe.tiling is None and H * W > MOST_PIXELS_AT_ONCE:
        raise RecipeError(
            f"{name}: image_size_px is {H} x {W}, expected {MOST_PIXELS_AT_ONCE:,} pixels at most, or tiling"
        )
    if (tiling := recipe.tiling) is not None:
        tile, overlap = tiling.tile_px, tiling.overlap_px
        if not 32 <= tile <= math.isqrt(MOST_PIXELS_AT_ONCE) or not 0 <= overlap <= tile // 2:
            raise RecipeError(
                f"{name}: tiling is {shown(tile)} px with {shown(overlap)} px overlap; expected a tile of 32 to "
                f"{math.isqrt(MOST_PIXELS_AT_ONCE)} px and an overlap of at most half of it"
            )


def check_projection(recipe: Recipe, dimensions: int) -> None:
    """Raise RecipeError where a recipe projects embeddings of `dimensions` values to more of them."""
    if recipe.projection is not None and recipe.projection > dimensions:
        raise RecipeError(
            f"recipe {recipe.name!r}: projection is {recipe.projection}, "
            f"expected at most {dimensions}, the dimensions of an embedding"
        )
