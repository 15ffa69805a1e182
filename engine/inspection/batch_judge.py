"""Judges the frames of a batch together on a device: search, scores and maps as a few large tensor operations.

Embeddings never leave the device; the host waits for the scores and the maps of a batch, never for a frame. Where no
map and no row's use is wanted, only the patches that a frame's score hangs on are searched to the end.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from patchline.engine.errors import EngineError
from patchline.engine.inspection.anomaly_map import REFERENCE_HEIGHT_PX, axis_operator
from patchline.engine.inspection.judge import Judge, Maps
from patchline.engine.inspection.scoring import Score, reweighted
from patchline.engine.numerics.device import start_fetch
from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.index import TensorNearest, nearest_of_frames
from patchline.engine.search.row_neighbours import RowNeighbours
from patchline.engine.types import Inspection

Answer: TypeAlias = Callable[[], list[Inspection]]
"""Waits for the device; raises EngineError where a frame's score is not finite."""


@runtime_checkable
class TensorSearch(TensorNearest, Protocol):
    """An index for whole frames on its device."""

    def farthest_of_frames(self, frames: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k patches of each frame that lie farthest from the rows, among all its patches, float (B, P, D).

        Returns squared L2 distances, float32 (B, P), and row numbers, int64 (B, P): of the k farthest patches and of
        all that lie as far, those to the nearest row; of the others those to the nearest or some other row, which are
        less.
        """


@dataclass(frozen=True, slots=True)
class WorstPatches:
    """The patches that the scores of B frames hang on, as a search found them on the device."""

    sq: Tensor
    """Squared distances of patches to their nearest rows, float32 (B, h*w); of those that the score hangs on."""
    worst: Tensor
    """Each frame's worst patch, int64 (B,)."""
    embeddings: Tensor
    """What these are, (B, D)."""
    nearest: Tensor
    """Their nearest rows, int64 (B,)."""
    sq_of: Callable[[list[int]], Tensor]
    """Squared distances of all patches of some of the frames, float32 (n, h*w)."""


class BatchJudge:
    """One recipe's bank on a device, with an index over it there."""

    def __init__(self, judge: Judge, index: TensorSearch, turn: AbstractContextManager[object] | None = None) -> None:
        """`turn`: held by whoever tells the device something, where answers are asked for by another thread."""
        self._turn = turn or nullcontext()
        self._judge = judge
        self._index = index
        self._score_patches = judge.bank.recipe.score_patches
        self._neighbours = min(judge.bank.recipe.neighbours, len(judge.bank.rows))
        self._around = RowNeighbours(index.rows)
        self._used = None
        if judge.used is not None:
            self._used = torch.zeros(len(judge.used), dtype=torch.bool, device=index.rows.device)

    @classmethod
    def on(cls, device: torch.device, judge: Judge, turn: AbstractContextManager[object] | None = None) -> "BatchJudge":
        """By the judge's own index, which grows with the bank, where it is on a device; else by another there."""
        index = judge.index
        return cls(
            judge, index if isinstance(index, TensorSearch) else DeviceSearch(judge.bank.values(), str(device)), turn
        )

    def judge(self, embeddings: Tensor, grid: tuple[int, int], maps: Maps) -> list[Inspection]:
        """Judge the frames of a batch.

        Args:
            embeddings: float (B, h*w, D) on the device.
            grid: (h, w).
            maps: for which frames an anomaly map is made.

        Raises:
            EngineError: a frame's score is not finite.
        """
        return self.begin(embeddings, grid, maps)()

    @torch.inference_mode()
    def begin(self, embeddings: Tensor, grid: tuple[int, int], maps: Maps) -> Answer:
        """`judge` without waiting for the device: the answer waits, and may be asked for by another thread."""
        sq, rows = self.search(embeddings, maps)
        worst = _worst(sq)
        frames = torch.arange(len(embeddings), device=worst.device)
        worst_patches = WorstPatches(
            sq,
            worst,
            embeddings[frames, worst],
            rows[frames, worst],
            lambda wanted: sq[wanted] if self._whole(maps) else self._nearest(embeddings[wanted])[0],
        )
        return self.tell(worst_patches, grid, maps)

    @torch.inference_mode()
    def search(self, embeddings: Tensor, maps: Maps) -> tuple[Tensor, Tensor]:
        """What the index says of the patches of frames, float (B, h*w, D), as far as their verdicts and maps hang on
        it, without waiting for the device: squared distances, float32, and rows, int64 (B, h*w).
        """
        if self._whole(maps):
            return self._nearest(embeddings)
        return self._index.farthest_of_frames(embeddings, self._score_patches)

    def _whole(self, maps: Maps) -> bool:
        """Whether every patch of every frame is searched to the end."""
        return maps == "all" or self._used is not None

    def judge_bands(self, bands: Iterable[Tensor], grid: tuple[int, int], maps: Maps) -> Inspection:
        """Judge one frame whose patches come in bands from top to bottom, float (n, D) each, holding one at a time."""
        return self.tell(self.search_bands(bands), grid, maps)()[0]

    @torch.inference_mode()
    def search_bands(self, bands: Iterable[Tensor]) -> WorstPatches:
        """What is found of one frame, for `judge_bands`."""
        searched = []
        for band in bands:
            sq, rows = self._index.nearest(band, 1)
            self._note(rows)
            worst = _worst(sq.T)
            searched.append((sq[:, 0], worst, band[worst], rows[worst, 0]))
        farthest = int(torch.stack([sq.amax() for sq, *_ in searched]).argmax())
        _, worst, embedding, row = searched[farthest]
        before = sum(len(sq) for sq, *_ in searched[:farthest])
        all_sq = torch.cat([sq for sq, *_ in searched])[None]
        return WorstPatches(all_sq, worst + before, embedding, row, lambda _: all_sq)

    def note_used(self) -> None:
        """Tell the judge which rows have been a patch's nearest on the device since the last call."""
        if self._used is not None and self._judge.used is not None:
            self._judge.used |= self._used.cpu().numpy()
            self._used.zero_()

    def _nearest(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest row of every patch of frames, (B, P, D): squared distances and rows, (B, P)."""
        sq, rows = nearest_of_frames(self._index, embeddings)
        self._note(rows)
        return sq, rows

    def _note(self, rows: Tensor) -> None:
        if self._used is not None:
            self._used[rows.flatten()] = True

    @torch.inference_mode()
    def tell(self, patches: WorstPatches, grid: tuple[int, int], maps: Maps) -> Answer:
        """The inspections of frames, from their worst patches.

        The answer raises EngineError where a score is not finite.
        """
        sq, nearest = patches.sq, patches.nearest
        proven = torch.ones((), dtype=torch.bool, device=sq.device)
        if self._score_patches > 1:
            scores = sq.sqrt().topk(min(self._score_patches, sq.shape[1]), dim=1).values.double().mean(1)
        elif self._neighbours == 1:
            scores = _distances(patches.embeddings, self._index.rows[nearest])
        else:
            around, proven = self._around.around(nearest, self._neighbours)
            scores = self._scores(patches.embeddings, nearest, around)
        all_proven = proven.double().expand(len(scores))
        said = start_fetch(torch.stack([scores, patches.worst.double(), nearest.double(), all_proven]))

        @torch.inference_mode()
        def answer() -> list[Inspection]:
            values, numbers, rows, all_proven = said().tolist()
            if not all(all_proven):
                with self._turn:
                    certain = self._index.nearest(self._index.rows[nearest], self._neighbours)[1]
                    values = self._scores(patches.embeddings, nearest, certain).tolist()
            scored = [Score(*parts) for parts in zip(values, map(int, numbers), map(int, rows), strict=True)]
            if not all(isfinite(score.value) for score in scored):
                raise EngineError(
                    f"recipe {self._judge.bank.recipe.name!r}: a frame's score is not finite; the backbone's features "
                    f"may exceed the range of half precision, which precision float32 does not"
                )
            threshold = self._judge.bank.threshold
            wanted = [
                position
                for position, score in enumerate(scored)
                if maps == "all" or (maps == "rejects" and score.value > threshold)
            ]
            made = {}
            if wanted:
                with self._turn:
                    drawn = self.maps(patches.sq_of(wanted).sqrt(), grid).cpu().numpy()
                made = dict(zip(wanted, drawn, strict=True))
            return [self._judge.inspection(score, grid, made.get(position)) for position, score in enumerate(scored)]

        return answer

    def _scores(self, worst: Tensor, nearest: Tensor, around: Tensor) -> Tensor:
        """Eq. 6-7 of each frame, float64 (B,), from its worst patch, float (B, D), that patch's nearest row, (B,), and
        the rows around it, (B, b).
        """
        rows = self._index.rows
        s_star = _distances(worst, rows[nearest])
        # m* is among its own neighbours, also where more than b rows equal it.
        last = torch.where((around == nearest[:, None]).any(1), around[:, -1], nearest)
        around = torch.cat([around[:, :-1], last[:, None]], dim=1)
        to_neighbours = _distances(worst[:, None], rows[around])
        return reweighted(s_star, to_neighbours, to_neighbours.amax(1), torch.exp)

    def maps(self, distances: Tensor, grid: tuple[int, int]) -> Tensor:
        """Anomaly maps, float32 (n, H, W), of patch distances (n, h*w)."""
        recipe = self._judge.bank.recipe
        H, W = recipe.image_size_px
        sigma = recipe.smoothing_sigma * H / REFERENCE_HEIGHT_PX
        rows, columns = (
            torch.tensor(axis_operator(cells, pixels, sigma), device=distances.device)
            for cells, pixels in zip(grid, (H, W), strict=True)
        )
        return rows @ distances.view(-1, *grid) @ columns.T


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """L2 distances along the last dimension, float64."""
    return (a.double() - b.double()).square().sum(-1).sqrt()


def _worst(sq: Tensor) -> Tensor:
    """The first of the farthest patches of each frame, int64 (B,), from squared distances (B, h*w); NaN is farthest."""
    columns = torch.arange(sq.shape[1], device=sq.device)
    farthest = (sq == sq.amax(1, keepdim=True)) | sq.isnan()
    return torch.where(farthest, columns, sq.shape[1]).amin(1)
