"""A plain PatchCore, to compare with: all patches in one greedy coreset, a frame scored by its farthest patch.

Nothing of it is the product's: no folds, no least number of rows, no stored integers, no Eq. 7. It is given patch
embeddings, and works in float32 by PyTorch. Coresets of several seeds are chosen together, so that the patches are read
from memory once for all of them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def plain_coresets(patches: NDArray[np.float32], count: int, seeds: Sequence[int]) -> list[NDArray[np.int64]]:
    """Greedy k-center (Gonzalez, 1985), one coreset for each seed.

    Args:
        patches: float32 (N, D).
        count: how many to choose.
        seeds: each draws the first centre of its coreset.

    Returns:
        For each seed the numbers of the chosen patches, int64 (count,), in the order of choice.
    """
    X = torch.from_numpy(patches)
    columns, sq_norms = X.T.contiguous(), (X * X).sum(1)
    newest = np.array([int(np.random.default_rng(seed).integers(len(X))) for seed in seeds])
    sq = torch.full((len(seeds), len(X)), torch.inf)
    chosen = [newest]
    while len(chosen) < count:
        to_newest = torch.addmm(sq_norms[newest, None], X[newest], columns, alpha=-2)
        torch.minimum(sq, to_newest.add_(sq_norms), out=sq)
        newest = sq.numpy().argmax(1)
        chosen.append(newest)
    return list(np.stack(chosen, axis=1))


def plain_scores(frames: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest of a frame's distances to its nearest rows, float64 (F,).

    Args:
        frames: float32 (F, P, D).
        rows: float32 (M, D).
    """
    bank = torch.from_numpy(rows)
    sq_norms = (bank * bank).sum(1)
    return np.array([_score(torch.from_numpy(frame), bank, sq_norms) for frame in frames])


def _score(frame: Tensor, bank: Tensor, sq_norms: Tensor) -> float:
    nearest, row = torch.addmm(sq_norms, frame, bank.T, alpha=-2).min(1)
    farthest = int((nearest + (frame * frame).sum(1)).argmax())
    # Once more by differences: products of long vectors leave little of a short distance.
    return float(torch.linalg.vector_norm(frame[farthest].double() - bank[row[farthest]].double()))
