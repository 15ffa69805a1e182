"""What a threshold is good for: three figures that are never confused.

- The *aimed* rate a: the threshold is the k-th smallest of n held-out scores, k = ceil((n + 1)(1 - a)).
- The *proved* bound: what holds on average over draws of the good images, whatever they are like. With further images
  for the threshold alone it is a itself (Lei et al. 2018). With K folds of equal size it is
  2a + min(2(1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)) (Barber et al. 2021, Theorem 4, after Vovk 2015). The theorem
  compares each held-out score with that of the new frame by the same rows. The bank that judges has the rows of all
  folds, so that distances only fall: a frame that it rejects is rejected by each bank that left a fold out. Eq. 7's
  weight may rise as rows join, and alone breaks that.
- The *uncertainty*: where the rate of this one threshold lies with probability 95 %, as if the scores were independent:
  it is then Beta(n + 1 - k, k).

Groups of copies count as one image each, in all three. So do groups that the fit has set aside: they are good or they
are defects, and where the threshold hangs on that, both rates are told.
"""

from dataclasses import dataclass

from patchline.engine.bank.calibration import Calibration
from patchline.engine.bank.rates import rank_of_groups
from patchline.engine.recipe import Recipe

LIKELY = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a threshold at its fit.

    `asked` is the rate asked for, `aimed` the one taken. `proved` is None where nothing is proved, and `unproved` says
    why; `low` to `high` is the uncertainty. `smallest`, `median` and `largest` are of the held-out scores. `set_aside`
    groups have none; `rates` are those of the threshold if they are good and if they are defects, where it hangs on
    that.
    """

    asked: float
    aimed: float
    proved: float | None
    unproved: str
    low: float
    high: float
    frames: int
    groups: int
    folds: int
    threshold: float
    smallest: float
    median: float
    largest: float
    set_aside: int = 0
    rates: tuple[float, float] | None = None

    @property
    def one_decides(self) -> bool:
        """Whether the threshold is the largest score: then it stands and falls with one frame."""
        return self.threshold >= self.largest

    def lines(self) -> tuple[tuple[str, str], ...]:
        """The figures in words, each under its name."""
        held_out = f"{self.frames} good frames"
        if self.groups < self.frames:
            held_out += f" in {self.groups} groups"
        if self.set_aside:
            held_out += f" and {self.set_aside} set aside, which count as above the threshold"
        how = (
            "further images, for it alone"
            if self.folds == 1
            else f"each without the rows of its own fold of {self.folds}"
        )
        if self.proved is None:
            proved = f"nothing: {self.unproved}"
        else:
            proved = f"at most {self.proved:.3g} of good frames are rejected, on average over draws of the good images"
            if self.folds > 1:
                proved += ", if the recipe was not chosen by them"
        aimed = f"{self.aimed:g} of good frames rejected"
        if self.rates:
            good, defects = self.rates
            aimed += f" is out of reach: {good:.2g} if what was set aside is good, {defects:.2g} if it is defects"
        return (
            ("aimed", f"{aimed}, by {held_out} ({how})"),
            ("proved", proved),
            (
                "uncertainty",
                f"{self.low:.2g} to {self.high:.2g} with 95 %, as if the scores were independent"
                + (", and whether what was set aside is good or not" if self.set_aside else ""),
            ),
            ("held-out", f"scores {self.smallest:.4g} to {self.largest:.4g}, median {self.median:.4g}"),
        )

    def warnings(self) -> tuple[str, ...]:
        """What must not be overlooked, in sentences."""
        if not self.one_decides:
            return ()
        return (
            f"one frame decides: the threshold is the largest of {self.frames} held-out scores, and stands and falls "
            f"with that frame; look at it, or ask for a higher false-reject rate",
        )


def figures_of(calibration: Calibration, *, asked: float, folds: int, unproved: str) -> Figures:
    """The figures of a fit's threshold.

    Args:
        calibration: the threshold, and the scores that it rests on.
        asked: the rate asked for.
        folds: of the fit; 1 where the frames gave no rows.
        unproved: why the bound of folds does not hold; empty where it does.
    """
    from scipy.stats import beta  # slow to import, and only a fit needs it

    n, q, scores = calibration.group_count, calibration.set_aside, calibration.scores
    k = min(n, rank_of_groups(n + q, calibration.false_reject_rate))
    tail = (1 - LIKELY) / 2
    # The same score is the k-th smallest of n + q good ones, or, if the q are defects, of n.
    low, high = beta(n + 1 - k, k).ppf(tail), beta(n + q + 1 - k, k).ppf(1 - tail)
    return Figures(
        asked=asked,
        aimed=calibration.false_reject_rate,
        proved=calibration.proved if folds > 1 else calibration.false_reject_rate,
        unproved=unproved,
        low=float(low),
        high=float(high),
        frames=calibration.frames,
        groups=n,
        folds=folds,
        threshold=calibration.threshold,
        smallest=float(scores[0]),
        median=float(scores[len(scores) // 2]),
        largest=float(scores[-1]),
        set_aside=q,
        rates=calibration.rates_if_good_or_defects,
    )


def proved_rate(false_reject_rate: float, frames: int, folds: int) -> float:
    """The bound of Barber et al. 2021, Theorem 4, for `frames` scores in `folds` folds of equal size; at most 1."""
    n, K = frames, folds
    return min(1.0, 2 * false_reject_rate + min(2 * (1 - 1 / K) / (n / K + 1), (1 - K / n) / (K + 1)))


def why_unproved(recipe: Recipe, fold_sizes: list[int], groups: int, calibrated: int, set_aside: int = 0) -> str:
    """Why the bound does not hold of a fit by folds, or nothing where it does.

    Args:
        recipe: how frames are scored.
        fold_sizes: images of each fold.
        groups: of all images.
        calibrated: images whose scores carry the threshold.
        set_aside: images whose rows were left out by what they look like.
    """
    if set_aside:
        return f"{set_aside} of {sum(fold_sizes)} images were set aside by what they look like"
    images = sum(fold_sizes)
    if recipe.score_patches == 1 and recipe.neighbours > 1:
        return "Eq. 7 may raise a score as rows join; with score_patches above 1, or neighbours 1, the bound can hold"
    if recipe.backbone.precision != "float32":
        return f"the precision, {recipe.backbone.precision}, was tried on these images"
    if groups < images:
        return "copies of one image are no independent draws"
    if calibrated < images:
        return f"the scores of {calibrated} of {images} images carry the threshold"
    if len(set(fold_sizes)) > 1:
        return (
            f"the folds have {min(fold_sizes)} to {max(fold_sizes)} images, and the theorem wants folds of equal size"
        )
    return ""
