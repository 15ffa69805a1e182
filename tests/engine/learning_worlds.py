"""A small recipe's store to learn in: random patches on a grid, calibration frames near them, frames that lie apart."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.manifest import Manifest
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.bank.state import first_state
from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.coreset.online_state import begin, sq_integer
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.learning.requests import Confirmation, ThresholdChoice, Unlearning
from patchline.engine.recipe import Backbone, Recipe
from patchline.engine.types import Rows

SUM = "a" * 64
GRID, D, SCALE = (4, 4), 6, 0.25
P = GRID[0] * GRID[1]
RECIPE = Recipe(
    name="part",
    backbone=Backbone(weights="random:1", weights_sha256="0" * 64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    false_reject_rate=0.2,
    neighbours=3,
    row_budget=400,
)
SMALL = msgspec.structs.replace(RECIPE, row_budget=60)
"""The same with a budget that a few frames exceed."""


def patches(seed: int, *, shift: int = 0, spread: int = 40) -> Rows:
    """One frame's patches, int16 (P, D); frames of one shift resemble each other."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.integers(-spread, spread, (P, D)) + shift, dtype=np.int16)


def fitted(recipe: Recipe = RECIPE, frames: int = 6, calibration: int = 5) -> tuple[MemoryBank, dict[str, Rows]]:
    """Generation 1 and its calibration frames."""
    vectors = np.concatenate([patches(seed) for seed in range(frames)])
    coreset = greedy_coreset(vectors, 24, seed=0)
    rows, radius = vectors[coreset.indices], coreset.radius * SCALE
    frame, patch = np.divmod(coreset.indices, P)
    held_out = {f"calibration-{seed}": patches(500 + seed) for seed in range(calibration)}
    names = tuple(f"fit-{seed}" for seed in range(frames))
    state = begin(
        rows, frame.astype(np.int32), patch.astype(np.int32), names, sq_covering=sq_integer(radius, SCALE), budget=99
    )
    references = ReferenceFrames(state)
    for name, values in held_out.items():
        references = references.with_frame(name, "calibration", values)
    bank = MemoryBank(
        recipe=recipe,
        generation=1,
        rows=rows,
        scale=SCALE,
        frames=tuple(FrameOrigin(name=name) for name in names),
        row_frame=frame.astype(np.int32),
        row_patch=patch.astype(np.int32),
        grid=GRID,
        covering_radius=radius,
        calibration=calibrate(references.scores(SCALE, recipe.neighbours), recipe.false_reject_rate),
        created="2026-01-01T00:00:00Z",
    )
    return bank, held_out


def fitted_by_folds(
    recipe: Recipe = RECIPE, frames: int = 10, folds: int = 5, rows: int = 6
) -> tuple[MemoryBank, dict[str, Rows]]:
    """Generation 1 as a fit by folds makes it, frame n in fold n modulo `folds`, and its calibration frames: all of
    them.
    """
    of_frame = {f"fit-{seed:02d}": patches(seed) for seed in range(frames)}
    names = tuple(of_frame)
    coresets = [
        greedy_coreset(np.concatenate([of_frame[name] for name in names[fold::folds]]), rows, seed=0)
        for fold in range(folds)
    ]
    chosen = [divmod(int(coresets[fold].indices[rank]), P) for rank in range(rows) for fold in range(folds)]
    row_frame = np.array([number * folds + n % folds for n, (number, _) in enumerate(chosen)], dtype=np.int32)
    row_patch = np.array([patch for _, patch in chosen], dtype=np.int32)
    radii = [coreset.radius * SCALE for coreset in coresets]
    bank = MemoryBank(
        recipe=recipe,
        generation=1,
        rows=np.stack([of_frame[names[frame]][patch] for frame, patch in zip(row_frame, row_patch, strict=True)]),
        scale=SCALE,
        frames=tuple(FrameOrigin(name=name, fold=n % folds) for n, name in enumerate(names)),
        row_frame=row_frame,
        row_patch=row_patch,
        grid=GRID,
        covering_radius=max(radii),
        calibration=calibrate(np.arange(float(frames)), recipe.false_reject_rate),
        folds=folds,
        fold_radius=min(radii),
        created="2026-01-01T00:00:00Z",
        calibration_folds=tuple(n % folds for n in range(frames)),
        calibration_patches=tuple(of_frame.items()),
    )
    references = ReferenceFrames(first_state(bank))
    for n, (name, values) in enumerate(of_frame.items()):
        references = references.with_frame(name, "calibration", values, n % folds)
    scores = references.scores(SCALE, recipe.neighbours, recipe.score_patches)
    return replace(bank, calibration=calibrate(scores, recipe.false_reject_rate)), of_frame


def new_store(url: str | Path, recipe: Recipe = RECIPE) -> GenerationStore:
    """A store with generation 1 in it."""
    store = GenerationStore(url)
    bank, held_out = fitted(recipe)
    kept: list[StoredFrame] = [store.keep(name, values) for name, values in held_out.items()]
    save_bank(bank, url, kept)
    return store


def first_manifest(**changed: object) -> Manifest:
    """Generation 1: 4 rows of 3 values on a grid of 2 x 2, 5 calibration frames."""
    made = Manifest(
        generation=1,
        sha256=SUM,
        tensors="generation.safetensors",
        tensors_sha256=SUM,
        tensors_bytes=4 * 14 + 5 * 8,
        recipe=RECIPE,
        scale=0.5,
        grid=(2, 2),
        rows=4,
        dimensions=3,
        covering_radius=1.5,
        false_reject_rate=0.2,
        threshold=2.0,
        calibration_frames=5,
        promise="none",
        created="2026-01-01",
        frames=(FrameOrigin(name="good"),),
    )
    return msgspec.structs.replace(made, **changed)


def confirmation(number: int, *, operator: str = "kim", shift: int = 90, **given: object) -> Confirmation:
    """A request to learn frame `f<number>`."""
    asked = Confirmation(
        feedback_id=f"feedback-{number}",
        operator=operator,
        reason="new supplier",
        time=f"2026-01-02T00:00:{number % 60:02d}Z",
        frame=f"f{number}",
        patches=patches(1000 + number, shift=shift + number % 7),
        score=12.5 + number,
    )
    return msgspec.structs.replace(asked, **given)


def take(learner: Learner, steps: Iterator[None]) -> MemoryBank:
    """Take what steps propose."""
    for _ in steps:
        pass
    return learner.commit()


def everywhere(number: int, shift: int) -> Confirmation:
    """A confirmation of a frame that is another one throughout, the more so the larger the shift."""
    return confirmation(number, shift=shift, patches=patches(1000 + number, shift=shift, spread=40 + shift // 2))


def confirm(learner: Learner, request: Confirmation) -> MemoryBank:
    """Learn at once."""
    return take(learner, learner.confirm_good(request))


def unlearn(learner: Learner, frame: str, feedback_id: str = "back") -> MemoryBank:
    """Unlearn at once."""
    return take(learner, learner.unlearn(Unlearning(feedback_id=feedback_id, operator="kim", frame=frame)))


def choose(learner: Learner, request: ThresholdChoice) -> MemoryBank:
    """Take a threshold at once."""
    return take(learner, learner.choose_threshold(request))
