"""The first hour of a new user: a folder of good images, one command, and what it is then worth.

The image AUROC beside a plain PatchCore's with every image in one coreset, by five seeds; the rates that thresholds by
folds hold, over draws of few images (`first_hour_rates`); and what a fit on ten images says. What it costs against the
fit before folds is `fit_cost`; what its calibration frames cost a later tap is `tap` and `calibrated_update`.
"""

import math
import subprocess
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory

import numpy as np

from patchline.engine.bank.store import load_bank
from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.types import Image
from patchline.ops.demo.defects import Kind
from tests.bench import planted, workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.first_hour_rates import rates
from tests.bench.first_hour_sets import FILES, Set, embedded, set_of
from tests.bench.plain import plain_coresets, plain_scores
from tests.bench.row import Row, from_values
from tests.e2e.service import PATCHLINE

SEEDS = 5
FRACTION = 0.01
BELOW = 0.005
"""By so much a set's mean may lie below that of the plain reference."""
SPREAD = 0.015
"""Largest less smallest AUROC over seeds, on magnetic tiles."""
FEWEST = 10
"""Images of a first fit."""


@dataclass(frozen=True)
class Aurocs:
    """A set's image AUROC by seed, of the product and of the plain reference."""

    ours: list[float]
    plain: list[float]

    @property
    def ahead(self) -> float:
        """Ours less plain, the mean over seeds."""
        return fmean(self.ours) - fmean(self.plain)

    @property
    def error(self) -> float:
        """The standard error of `ahead`, by its spread over seeds."""
        apart = [ours - plain for ours, plain in zip(self.ours, self.plain, strict=True)]
        return stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0


def first_hour(bench: Bench) -> list[Row]:
    """AUROC against a plain reference, rates that are held, and what ten images are told."""
    sets = [set_of(bench, name) for name in FILES]
    rows = _auroc(bench, sets)
    for of in sets:
        rows += rates(bench, of)
    _fewest(bench, sets[0])
    return rows


def _auroc(bench: Bench, sets: Sequence[Set]) -> list[Row]:
    found: dict[str, Aurocs] = {}
    for of in sets:
        found |= _aurocs_of(bench, of, range(2 if bench.quick else SEEDS))
    for name, aurocs in found.items():
        sides = (" ".join(f"{value:.4f}" for value in side) for side in (aurocs.ours, aurocs.plain))
        bench.say(
            f"{name}: image AUROC {fmean(aurocs.ours):.4f}, plain {fmean(aurocs.plain):.4f}: "
            f"{aurocs.ahead:+.4f} (standard error {aurocs.error:.4f}); by seed {' | '.join(sides)}"
        )
    ahead = fmean(aurocs.ahead for aurocs in found.values())
    error = math.hypot(*(aurocs.error for aurocs in found.values())) / len(found)
    bench.say(f"mean over sets and seeds: ours - plain {ahead:+.4f}, standard error {error:.4f}")
    ours, plain = (fmean(fmean(side) for side in sides) for sides in zip(*map(astuple, found.values()), strict=True))
    tiles = found["magnetic_tile"].ours
    return [
        from_values("first_hour_auroc", ours, plain - error, goal=1.0, unit="AUROC"),
        *(
            from_values(f"first_hour_auroc_{name}", fmean(a.ours), fmean(a.plain) - BELOW, goal=1.0, unit="AUROC")
            for name, a in found.items()
        ),
        from_values(
            "first_hour_auroc_seeds", max(tiles) - min(tiles), SPREAD, goal=1.0, unit="AUROC", less_is_better=True
        ),
    ]


def _aurocs_of(bench: Bench, of: Set, seeds: range) -> dict[str, Aurocs]:
    """Of a set's own defects, and of planted ones, against the same good images."""
    train, good, defects = ([workload.read(path) for path in paths] for paths in (of.train, of.test, of.defects))
    with_planted = [
        planted.planted(path, kind, 100 * number + position)
        for number, path in enumerate(of.test)
        for position, kind in enumerate(Kind)
    ]
    bench.say(
        f"{of.name}: {len(train)} good images fitted; {len(good)} others, {len(defects)} defects, and {len(Kind)} "
        f"planted in each of the good ones, at a contrast of {planted.CONTRAST:g}"
    )
    frames = [*good, *defects, *with_planted]
    marks = np.repeat([0, 1, 2], [len(good), len(defects), len(with_planted)])
    patches, judged = embedded(bench, of.name, train), embedded(bench, f"{of.name}-judged", frames)
    flat = patches.reshape(-1, patches.shape[2])
    coresets = plain_coresets(flat, round(FRACTION * len(flat)), seeds)
    plain = [plain_scores(judged, flat[chosen]) for chosen in coresets]
    with TemporaryDirectory(dir=bench.build) as folder:
        ours = [_ours(of, frames, Path(folder), seed) for seed in seeds]
    result = {}
    for name, kind in ((of.name, 1), (f"{of.name}_planted", 2)):
        used = (marks == 0) | (marks == kind)
        sides = [[image_auroc(s[used], marks[used] > 0) for s in side] for side in (ours, plain)]
        result[name] = Aurocs(*sides)
    return result


def _ours(of: Set, frames: Sequence[Image], folder: Path, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Scores of prepared frames by the bank of one command at its defaults."""
    out = folder / f"bank-{seed}"
    _fit(of, folder / f"good-{seed}", out, seed, len(of.train))
    inspector = Inspector({of.name: load_bank(out)}, device="cpu")
    return np.array([found.score for found in inspector.inspect([(of.name, frame) for frame in frames])])


def _fit(of: Set, good: Path, out: Path, seed: int, images: int) -> str:
    """`patchline fit` at its defaults with EfficientNet-Lite0; what it prints."""
    good.mkdir()
    for path in of.train[:images]:
        (good / path.name).symlink_to(path)
    command = [PATCHLINE, "fit", good, "--out", out, "--name", of.name, "--backbone", "efficientnet_lite0"]
    done = subprocess.run(
        [*map(str, command), "--seed", str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FigureUnavailableError(
            f"the fit to {images} images of {of.name} ended with {done.returncode}: {done.stdout}"
        )
    return done.stdout


def _fewest(bench: Bench, of: Set) -> None:
    """Show what a fit on so few images says."""
    with TemporaryDirectory(dir=bench.build) as folder:
        said = _fit(of, Path(folder) / "good", Path(folder) / "bank", 0, FEWEST)
    bench.say(f"`patchline fit` on {FEWEST} images of {of.name}:\n{said.rstrip()}")
