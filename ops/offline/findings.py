"""What a first look at the images of a fit tells in short sentences, and what it refuses."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from patchline.ops.errors import InputError
from patchline.ops.offline.image_folder import plural, sample

BLANK_CONTRAST = 2.0
"""Standard deviation of grey below which a frame shows nothing: a covered lens gives about 1, a plain sheet 5."""
LEAST_LEVELS, FEW_LEVELS = 16, 64
"""Grey levels up to which 16-bit images are refused, and up to which fit warns."""
MOST_GROUPS = 3
"""Groups of copies that are named."""


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What a first look keeps of an image: its file and (H, W), and of its pixels as the backbone would see them.

    `bits` a sample has in the file, 8 or 16, of which the upper 8 are kept; `brightest` is the largest sample of these
    8 bits; `mean_grey` and `contrast` are the mean and the standard deviation of its grey, 0 to 255.
    """

    path: Path
    size_px: tuple[int, int]
    bits: int
    brightest: int
    mean_grey: float
    contrast: float


def refuse_unusable(images: Sequence[SeenImage]) -> None:
    """Raise InputError where 16-bit images use 12 bits or fewer, or where every image is of one grey."""
    deep = [image for image in images if image.bits > 8]
    levels = max((image.brightest + 1 for image in deep), default=256)
    if levels <= LEAST_LEVELS:
        used = 8 + (levels - 1).bit_length()
        raise InputError(
            f"{_first_of(deep)}: 16 bits a sample, of which at most {used} are used: as the upper 8 bits are kept, "
            f"{plural(levels, 'grey level')} of 256 would be left; expected values that fill the 16 bits: multiply "
            f"them by {2 ** (16 - used)}, or save them with 8 bits, and let the camera do the same"
        )
    if images and all(image.contrast == 0 for image in images):
        raise InputError(
            f"{_first_of(images)}: every pixel has the same grey, {images[0].mean_grey:.0f}; expected pictures of good "
            "parts: look at the camera's lens and exposure"
        )


def refuse_fitted_calibration(
    fitted: Sequence[SeenImage], calibrating: Sequence[SeenImage], groups: Sequence[int]
) -> None:
    """Raise InputError where images for calibration are copies of images of the fit.

    Args:
        fitted: the images of the fit.
        calibrating: the images for calibration.
        groups: numbers of the groups of copies of all of them, those of the fit first.
    """
    learned: dict[int, Path] = {}
    for image, group in zip(fitted, groups, strict=False):
        learned.setdefault(group, image.path)
    copies = [
        f"{image.path} shows the same picture as {learned[group]}"
        for image, group in zip(calibrating, groups[len(fitted) :], strict=True)
        if group in learned
    ]
    if copies:
        raise InputError(
            f"--calibration: {len(copies):,} of {plural(len(calibrating), 'image')} are also in the fit: "
            f"{sample(copies)}; a threshold that rests on them is too low; expected images that the fit does not "
            "learn: take them out of one of the two folders"
        )


def tell_images(images: Sequence[SeenImage], size_px: tuple[int, int]) -> Iterator[str]:
    """Sentences on mixed sizes, few grey levels and blank frames; `size_px` is the recipe's (H, W)."""
    sizes = Counter(image.size_px for image in images)
    if len(sizes) > 1:
        (common, count), *_ = sizes.most_common(1)
        by_size = {image.size_px: image.path.name for image in reversed(images)}
        others = sample(f"{_size(size)} ({by_size[size]})" for size in sorted(sizes) if size != common)
        yield (
            f"{len(sizes):,} sizes of images (H x W): {count:,} of {_size(common)}, others {others}; each is brought "
            f"to {_size(size_px)}, so that the same part may come out larger, or stretched"
        )
    deep = [image for image in images if image.bits > 8]
    levels = max((image.brightest + 1 for image in deep), default=256)
    if levels <= FEW_LEVELS:
        yield (
            f"{plural(len(deep), 'image')} of 16 bits a sample, but dark: {levels} grey levels of 256 are left, as the "
            f"upper 8 bits are kept; values that fill the 16 bits would leave all"
        )
    if deep and len(deep) < len(images):
        yield f"{len(deep):,} of {plural(len(images), 'image')} of 16 bits a sample, the others of 8: is it one camera?"
    blank = [image for image in images if image.contrast < BLANK_CONTRAST]
    if blank:
        named = sample(f"{image.path.name} (grey {image.mean_grey:.0f})" for image in blank)
        yield (
            f"{len(blank):,} of {plural(len(images), 'image')} blank: {named}; the bank would take a covered lens "
            "for a good part: take them out, unless good parts look so"
        )


def tell_copies(names: Sequence[str], groups: Sequence[int]) -> Iterator[str]:
    """One sentence where images share groups: how many groups there are, and the largest of them."""
    members = defaultdict[int, list[str]](list)
    for name, group in zip(names, groups, strict=True):
        members[group].append(name)
    largest = sorted((inside for inside in members.values() if len(inside) > 1), key=len, reverse=True)
    if largest:
        shown = "; ".join(f"{inside[0]} with {sample(inside[1:])}" for inside in islice(largest, MOST_GROUPS))
        more = f"; and {plural(len(largest) - MOST_GROUPS, 'more group')}" if len(largest) > MOST_GROUPS else ""
        yield f"{count_groups(groups)}, held out or learned together: {shown}{more}"


def tell_ungrouped(ungrouped: Sequence[str], images: int) -> Iterator[str]:
    """One sentence where --group finds nothing in some names."""
    if ungrouped:
        count = f"{len(ungrouped):,} of {plural(images, 'name')}"
        yield f"--group finds nothing in {count}, so that each of these stands for itself: {sample(ungrouped)}"


def count_groups(groups: Sequence[int]) -> str:
    """`300 images in 9 groups`."""
    return f"{plural(len(groups), 'image')} in {plural(len(set(groups)), 'group')}"


def _first_of(images: Sequence[SeenImage]) -> str:
    more = f" and {len(images) - 1:,} more" if len(images) > 1 else ""
    return f"{images[0].path}{more}"


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
