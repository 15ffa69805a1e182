"""Groups: copies of one picture find each other, pictures that differ do not, and every step is exact."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.engine.fitting.groups import TOGETHER, ImageGroups, merge_groups
from patchline.engine.fitting.thumbnails import Thumbnail, thumbnail
from patchline.engine.types import Image
from patchline.ops.offline.image_files import load_image
from tests.engine.fitting.test_thumbnails import saved


def flat(grey: int, limit: int = 0) -> Thumbnail:
    """A thumbnail of one value, which saving it again moves by `limit` in each pixel."""
    return Thumbnail(np.full((64, 64), grey, dtype=np.int16), limit * limit * 64 * 64)


def group_images(thumbnails: Iterable[Thumbnail]) -> list[int]:
    """The group of each image, dealt one after the other."""
    groups = ImageGroups()
    for one in thumbnails:
        groups.add(one)
    return groups.numbers()


def by_definition(thumbnails: list[Thumbnail]) -> list[int]:
    """The rule in plain integers: join the nearest representative that is alike, the earlier of equals, or begin."""
    firsts: list[Thumbnail] = []
    numbers = []
    for image in thumbnails:
        best: tuple[int, int] | None = None
        for number, first in enumerate(firsts):
            ways = [np.rot90(way, k) for way in (image.values, image.values[:, ::-1]) for k in range(4)]
            sq = min(int(((way.astype(np.int64) - first.values) ** 2).sum()) for way in ways)
            if sq <= max(image.sq_resaved, first.sq_resaved) and (best is None or sq < best[0]):
                best = (sq, number)
        if best is None:
            firsts.append(image)
        numbers.append(len(firsts) - 1 if best is None else best[1])
    return numbers


def pictures(count: int, seed: int, kinds: int) -> Iterator[Thumbnail]:
    """Noise about few pictures, some turned and mirrored, with limits about as large as the noise."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 4080, (kinds, 64, 64), dtype=np.int16)
    for _ in range(count):
        values = bases[rng.integers(kinds)] + rng.integers(-3, 4, (64, 64), dtype=np.int16)
        turned = np.rot90(values, int(rng.integers(4)))
        mirrored = turned[:, ::-1] if rng.integers(2) else turned
        yield Thumbnail(np.ascontiguousarray(mirrored.clip(0, 4080)), int(rng.normal(2 * 4 * 4096, 1500)))


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_the_definition(seed: int) -> None:
    """Bounds, blocks and products change nothing: every image has the group that plain integers give it."""
    images = list(pictures(3 * TOGETHER + 5, seed, kinds=6))
    numbers = group_images(images)
    assert numbers == by_definition(images)
    assert 6 <= len(set(numbers)) < len(images)


def test_likeness_is_not_passed_on() -> None:
    """A series that changes slowly is cut where it has left its first image by more than the limit."""
    limit = 10
    series = [flat(100 + 6 * step, limit) for step in range(8)]
    assert group_images(series) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_limit_is_that_of_the_one_that_moves_farther_and_counts() -> None:
    """At the limit two images are alike, one unit above it they are not, whichever of the two comes first."""
    for first, second in ((flat(100, 5), flat(105)), (flat(100), flat(105, 5))):
        assert group_images([first, second]) == [0, 0]
    above = flat(105)
    above.values[0, 0] += 1
    assert group_images([flat(100, 5), above]) == [0, 1]
    assert group_images([flat(100), flat(100), flat(101)]) == [0, 0, 1]


def test_an_image_joins_the_nearest_and_the_earlier_of_equals() -> None:
    """Two representatives are alike to the third image: the nearer has it, or the first of them."""
    assert group_images([flat(100, 0), flat(110, 0), flat(106, 8)]) == [0, 1, 1]
    assert group_images([flat(100, 0), flat(110, 0), flat(105, 8)]) == [0, 1, 0]


def test_images_come_one_at_a_time() -> None:
    """Numbers asked for in between are those of the images so far, and go on with the next."""
    images = list(pictures(TOGETHER + 3, 9, kinds=3))
    groups = ImageGroups()
    for count, image in enumerate(images, start=1):
        groups.add(image)
        if count in (1, 7, TOGETHER):
            assert groups.numbers() == by_definition(images[:count])
    assert groups.numbers() == by_definition(images)
    assert group_images([]) == []


def copies(image: Image) -> list[Image]:
    """What people make of one picture: saved again, turned, mirrored."""
    turned = np.ascontiguousarray(np.rot90(image))
    return [image, saved(image, 75), saved(image, 90), turned, np.ascontiguousarray(image[:, ::-1]), saved(turned, 90)]


@pytest.mark.parametrize(
    ("pattern", "every"), [("magnetic_tile/train/good/exp1_*", 3), ("mvtec_bottle/train/good/*", 12)]
)
def test_copies_of_photographs_are_found_and_photographs_are_told_apart(
    data_dir: Path, pattern: str, every: int
) -> None:
    """Each photograph of a set is a group with its copies, and with no other photograph."""
    photographs = [load_image(path) for path in sorted(data_dir.glob(pattern))[::every]]
    made = [(number, copy) for number, image in enumerate(photographs) for copy in copies(image)]
    assert group_images(thumbnail(copy) for _, copy in made) == [number for number, _ in made]


def test_two_thousand_images_of_which_none_is_alike() -> None:
    """As many groups as images, though bounds on cells cannot tell them apart; memory holds their thumbnails only."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 4000, (64, 64))

    def image(seed: int) -> Thumbnail:
        noise: NDArray[np.int64] = np.random.default_rng(seed).integers(0, 2, (64, 64)) * 80
        return Thumbnail((cells + noise).astype(np.int16), 16 * 16 * 4096)

    assert group_images(map(image, range(2_000))) == list(range(2_000))


def test_a_resized_copy_is_told_by_its_picture() -> None:
    """Half the size, averaged over area, is the same thumbnail where sides are whole multiples."""
    rng = np.random.default_rng(3)
    image = np.repeat(np.repeat(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), 2, axis=0), 2, axis=1)
    half = np.asarray(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    assert group_images(map(thumbnail, (image, half))) == [0, 0]


LABELS = st.integers(1, 12).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 4), min_size=size, max_size=size), min_size=1, max_size=3)
)


@settings(max_examples=200)
@given(LABELS)
def test_merged_groups_are_the_finest_that_keep_all_together(partitions: list[list[int]]) -> None:
    """Two images share a group exactly where a chain of partitions leads from one to the other."""
    merged = merge_groups(*partitions)
    size = len(merged)
    together = np.eye(size, dtype=bool)
    for partition in partitions:
        together |= np.equal.outer(partition, partition)
    for _ in range(size):
        together = together @ together
    assert np.array_equal(np.equal.outer(merged, merged), together)
    firsts = [merged.index(number) for number in range(max(merged) + 1)]
    assert firsts == sorted(firsts)


def test_partitions_of_other_sizes_are_refused() -> None:
    """What is said of three images says nothing of four."""
    with pytest.raises(ValueError, match=r"found \[3, 4\] images"):
        merge_groups([0, 1, 2], [0, 1, 2, 3])
