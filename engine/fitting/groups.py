"""Which images are copies of one picture: no one of them can be held out from the others, nor do they count as several.

Two images are alike where their thumbnails, in one of the eight ways to turn and mirror a picture, are no further apart
than the one of the two that moves farther when it is saved again as JPEG of quality 75. A group's representative is its
first image, and all others are alike to that one: likeness is not passed on from image to image, so that a series that
changes slowly is no single group.

Distances are exact integers (sums of products of integers below 2^53), so that any machine finds the same groups.
"""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from patchline.engine.fitting.numbering import numbered
from patchline.engine.fitting.thumbnails import SIDE_PX, Thumbnail
from patchline.engine.types import Doubles, Indices

Integers: TypeAlias = NDArray[np.integer[Any]]
TOGETHER = 32
"""Images that are compared with all groups by one product."""
ORIENTATIONS = 8
"""Ways to turn a picture by quarters and to mirror it."""
_PIXELS = SIDE_PX * SIDE_PX
_CELL_PX = 4
_COLUMNS = 256


class ImageGroups:
    """Deals images into groups, one image after the other.

    Each image is compared with the representatives of all groups so far. It joins the group whose representative is
    nearest, the earlier of two that are equally near; where none is alike, it begins a group. So the groups depend on
    the order of the images, and on nothing else. Memory holds the thumbnails of the representatives: 10 KB a group.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._waiting: list[Thumbnail] = []
        self._firsts = _Representatives()

    def add(self, image: Thumbnail) -> None:
        """Take the next image."""
        self._waiting.append(image)
        if len(self._waiting) == TOGETHER:
            self._deal()

    def numbers(self) -> list[int]:
        """The groups of all images so far, numbered from 0 in the order of their first images."""
        self._deal()
        return list(self._numbers)

    def _deal(self) -> None:
        """Give those that wait a number each."""
        if not self._waiting:
            return
        new, self._waiting = self._waiting, []
        # The columns of the groups so far come first; behind them stand the new images, each of which may begin one.
        known = len(self._firsts)
        self._firsts.extend(new)
        distances = self._firsts.distances_to_alike(known)
        column_group = np.concatenate([np.arange(known), np.full(len(new), -1)])
        begun = known
        for image, to in enumerate(distances):
            alike = np.flatnonzero(np.isfinite(to) & (column_group >= 0))
            if len(alike):
                self._numbers.append(int(column_group[alike[np.argmin(to[alike])]]))
            else:
                column_group[known + image] = begun
                self._numbers.append(begun)
                begun += 1
        self._firsts.keep(column_group >= 0)


class _Representatives:
    """Thumbnails in columns: pixels, the sums of cells of 4 x 4 of them, and how far saving again moves each."""

    def __init__(self) -> None:
        self._pixels: list[NDArray[np.int16]] = []  # each (64, 64)
        self._cells = np.empty((0, _PIXELS // _CELL_PX**2), dtype=np.float64)
        self._sq_resaved = np.empty(0, dtype=np.float64)

    def __len__(self) -> int:
        return len(self._pixels)

    def extend(self, images: Sequence[Thumbnail]) -> None:
        """Add columns at the end."""
        self._pixels += [image.values for image in images]
        self._cells = np.concatenate([self._cells, _vectors(_cell_sums(np.stack(self._pixels[-len(images) :])))])
        self._sq_resaved = np.concatenate([self._sq_resaved, [image.sq_resaved for image in images]])

    def keep(self, columns: NDArray[np.bool_]) -> None:
        """Leave out the other columns."""
        if not columns.all():
            self._pixels = [self._pixels[column] for column in np.flatnonzero(columns)]
            self._cells, self._sq_resaved = self._cells[columns], self._sq_resaved[columns]

    def distances_to_alike(self, start: int) -> Doubles:
        """Squared distances of the columns from `start` on to all columns, float64 (n, columns).

        They are those of the nearest of the eight ways to turn and mirror the image; infinite where two are not alike.
        """
        images = len(self) - start
        limits = np.maximum(self._sq_resaved[start:, None], self._sq_resaved)
        pixels = np.stack(self._pixels[start:])
        # A cell's sum differs by at most 4 times as much as its 16 pixels, by Cauchy and Schwarz: 256 numbers tell most
        # pairs apart in place of 4,096.
        bounds = _sq_distances(_vectors(_orientations(_cell_sums(pixels))), self._cells)
        possible = bounds <= _CELL_PX**2 * np.repeat(limits, ORIENTATIONS, axis=0)
        rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
        sq = np.full(possible.shape, np.inf)
        turned = _vectors(_orientations(pixels)[rows])
        for begin in range(0, len(columns), _COLUMNS):
            some = columns[begin : begin + _COLUMNS]
            sq[np.ix_(rows, some)] = _sq_distances(turned, _vectors(np.stack([self._pixels[c] for c in some])))
        nearest: Doubles = sq.reshape(images, ORIENTATIONS, -1).min(axis=1)
        nearest[nearest > limits] = np.inf
        return nearest


def _orientations(images: Integers) -> Integers:
    """Images, (n, S, S), turned by no, one, two and three quarters, and each of these mirrored: (n * 8, S, S)."""
    turned: list[Integers] = [np.rot90(images, quarters, axes=(1, 2)) for quarters in range(4)]
    ways: Integers = np.stack([*turned, *(way[:, :, ::-1] for way in turned)], axis=1)
    return ways.reshape(-1, *images.shape[1:])


def _cell_sums(images: NDArray[np.int16]) -> NDArray[np.int32]:
    """The sums of cells of 4 x 4 pixels of images (n, 64, 64), int32 (n, 16, 16)."""
    values = images.astype(np.int32)
    rows = sum((values[:, start::_CELL_PX] for start in range(1, _CELL_PX)), start=values[:, ::_CELL_PX])
    return sum((rows[:, :, start::_CELL_PX] for start in range(1, _CELL_PX)), start=rows[:, :, ::_CELL_PX])


def _vectors(images: Integers) -> Doubles:
    """Images (n, S, S) as float64 (n, S * S)."""
    return images.reshape(len(images), -1).astype(np.float64)


def _sq_distances(rows: Doubles, columns: Doubles) -> Doubles:
    """Squared distances, exact for 256 squares below 2^32 and for 4,096 below 2^24: all sums lie far below 2^53."""
    sq_rows = np.einsum("ij,ij->i", rows, rows)
    sq_columns = np.einsum("ij,ij->i", columns, columns)
    return np.asarray(sq_rows[:, None] + sq_columns - 2 * (rows @ columns.T), dtype=np.float64)


def merge_groups(*partitions: Sequence[Hashable]) -> list[int]:
    """The finest groups in which images stay together that are together in any of the partitions.

    Args:
        partitions: each gives every image, in the same order, what those have in common that belong together.

    Returns:
        The group of each image, numbered from 0 in the order of their first images.

    Raises:
        ValueError: the partitions are of different numbers of images.
    """
    sizes = {len(partition) for partition in partitions}
    if len(sizes) != 1:
        raise ValueError(f"partitions: found {sorted(sizes)} images, expected one number of them")
    (images,) = sizes
    # Images and what they have in common are the nodes of a graph; its components are the groups.
    nodes: dict[tuple[int, Hashable], int] = {}
    edges = [
        (image, images + nodes.setdefault((which, common), len(nodes)))
        for which, partition in enumerate(partitions)
        for image, common in enumerate(partition)
    ]
    ends: Indices = np.array(edges, dtype=np.int64).reshape(-1, 2)
    size = images + len(nodes)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return numbered(connected_components(graph, directed=False)[1][:images].tolist())
