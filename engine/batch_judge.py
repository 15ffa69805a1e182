"""Judges the frames of a batch together on a device: search, scores and maps as a few large tensor operations.

Embeddings never leave the device; the host waits once for the scores and once for the maps, never for a frame. Matrix
products propose `CANDIDATES` rows for each patch, and their distances are then sums of squared differences in float32.
On a GPU the products run in TF32, whose mantissa is as short as half precision's, but not its range: a nearer row is
missed only where it is within that rounding of the rows found.
"""

import torch
from torch import Tensor

from engine.anomaly_map import REFERENCE_HEIGHT_PX, axis_operator
from engine.inspection import Inspection
from engine.judge import Judge, Maps
from engine.scoring import Score

CANDIDATES = 4
BLOCK_VALUES = 2**28
"""Distances held at a time: 1 GiB."""


class BatchJudge:
    """One recipe's bank on a device."""

    def __init__(self, judge: Judge, device: torch.device) -> None:
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
        self._judge = judge
        rows = judge.bank.values()
        self._rows = torch.from_numpy(rows).to(device)
        self._centre = self._rows.mean(0)  # smaller norms, smaller errors
        centred = self._rows - self._centre
        self._factors = centred.T.contiguous()
        self._sq_norms = centred.square().sum(1)
        self._score_patches = judge.bank.recipe.score_patches
        self._neighbours = min(judge.bank.recipe.neighbours, len(rows))

    @torch.inference_mode()
    def judge(self, embeddings: Tensor, grid: tuple[int, int], maps: Maps) -> list[Inspection]:
        """Judge the frames of a batch, float (B, h*w, D) on the device."""
        B, P, D = embeddings.shape
        embeddings = embeddings.float()
        sq, rows = self._nearest(embeddings.reshape(B * P, D))
        distances, rows = sq.sqrt().view(B, P), rows.view(B, P)
        worst = _first(distances == distances.amax(1, keepdim=True))
        every = torch.arange(B, device=worst.device)
        nearest = rows[every, worst]
        if self._score_patches > 1:
            scores = distances.topk(min(self._score_patches, P), dim=1).values.double().mean(1)
        else:
            scores = self._scores(embeddings[every, worst].double(), nearest)
        host = torch.stack([scores, worst.double(), nearest.double()]).cpu().tolist()  # waits for the device
        found = [Score(score, int(patch), int(row)) for score, patch, row in zip(*host, strict=True)]
        threshold = self._judge.bank.threshold
        wanted = [
            position
            for position, score in enumerate(found)
            if maps == "all" or (maps == "rejects" and score.value > threshold)
        ]
        made = dict(zip(wanted, self._maps(distances[wanted], grid).cpu().numpy(), strict=True)) if wanted else {}
        return [self._judge.inspection(score, grid, made.get(position)) for position, score in enumerate(found)]

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distance to the nearest row and that row, (n,) each; ties to the lowest row."""
        M = len(self._rows)
        parts = []
        for block in torch.split(queries, max(1, BLOCK_VALUES // M)):
            candidates = self._proposed(block, min(CANDIDATES, M))
            sq = torch.stack([(block - self._rows[rows]).square_().sum(1) for rows in candidates.T], dim=1)
            best = sq.amin(1)
            parts.append((best, torch.where(sq == best[:, None], candidates, M).amin(1)))
        return torch.cat([sq for sq, _ in parts]), torch.cat([rows for _, rows in parts])

    def _proposed(self, queries: Tensor, count: int) -> Tensor:
        """The `count` rows that are nearest by matrix products, int64 (n, count), in no order."""
        proposed = torch.addmm(self._sq_norms, queries - self._centre, self._factors, alpha=-2)  # (n, M), less |q|^2
        return proposed.topk(count, dim=1, largest=False, sorted=False).indices

    def _scores(self, worst: Tensor, nearest: Tensor) -> Tensor:
        """Eq. 6-7 of each frame, float64 (B,), from its worst patch, float64 (B, D), and that patch's nearest row."""
        s_star = (worst - self._rows[nearest]).square().sum(1).sqrt()
        b = self._neighbours
        if b == 1:
            return s_star
        around = self._proposed(self._rows[nearest], min(b + CANDIDATES, len(self._rows)))
        sq = (self._rows[around] - self._rows[nearest][:, None]).square().sum(2)
        sq = torch.where(around == nearest[:, None], -1.0, sq)  # m* is among its own neighbours, whatever equals it
        around = around.gather(1, sq.topk(b, dim=1, largest=False).indices)
        around[:, -1] = torch.where((around == nearest[:, None]).any(1), around[:, -1], nearest)
        to_neighbours = (worst[:, None] - self._rows[around]).square().sum(2).sqrt()
        largest = to_neighbours.amax(1)
        weight = 1.0 - (s_star - largest).exp() / (to_neighbours - largest[:, None]).exp().sum(1)
        return weight * s_star

    def _maps(self, distances: Tensor, grid: tuple[int, int]) -> Tensor:
        """Anomaly maps, float32 (n, H, W), of patch distances (n, h*w)."""
        recipe = self._judge.bank.recipe
        H, W = recipe.image_size_px
        sigma = recipe.smoothing_sigma * H / REFERENCE_HEIGHT_PX
        rows, columns = (
            torch.tensor(axis_operator(cells, pixels, sigma), device=distances.device)
            for cells, pixels in zip(grid, (H, W), strict=True)
        )
        return rows @ distances.view(-1, *grid) @ columns.T


def _first(mask: Tensor) -> Tensor:
    """The first true column of each row, int64 (B,)."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, columns, mask.shape[1]).amin(1)
