"""A line that changes its light: what a few confirmed frames do for it, by `lights.json` (five orders, lights 2 to 6).

Fit and calibrate under light 1; stream frames of light L, each scored before it may influence anything, each rejected
one confirmed as good and learned; then score other frames of L and of light 1. Settings were chosen on lights 2 and 3.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from engine.backbone import load_backbone
from engine.coreset import greedy_coreset
from engine.evaluation import image_auroc
from engine.illumination import embed_centred, level
from engine.learned_threshold import learned_threshold
from engine.learning import Learning
from engine.online_coreset import OnlineCoreset, begin, sq_integer, sq_to_nearest
from engine.preprocess import prepare
from engine.quantise import Rows, quantise, scale_for
from engine.weights import EFFICIENTNET_LITE0, pinned
from tests.bench.bench import Bench
from tests.bench.row import Row, from_values

PRODUCT = "magnetic_tile"
SIZE_PX, GRID = (224, 224), (28, 28)
STAGES = ("1", "2", "3")
FRACTION, ADMISSION, RATE, WORST = 0.02, 0.85, 0.10, 5
BUDGET = 20_000
CHOSEN_ON = ("2", "3")


@dataclass(frozen=True)
class Outcome:
    """One order under one light: scores of good and defective frames afterwards, and what it took."""

    frr_before: float
    frr: float
    recall_before: float
    recall: float
    auroc_before: float
    auroc: float
    auroc_refit: float
    home: float
    home_refit: float
    taps: int
    rows: int


def learning(bench: Bench) -> list[Row]:
    """False rejects, recall, taps and AUROC after the stream, means over all orders and lights 2 to 6."""
    lights = json.loads((bench.data / PRODUCT / "lights.json").read_text())
    line = Line(bench, lights)
    orders = lights["orders"][:1] if bench.quick else lights["orders"]
    names = CHOSEN_ON[:1] if bench.quick else sorted(orders[0]["stream"])
    bench.say(
        f"EfficientNet-Lite0 at {SIZE_PX}, stages {', '.join(STAGES)}, frames levelled and feature maps centred; "
        f"{FRACTION:.0%} coreset, admission {ADMISSION:g}, mean of the {WORST} farthest patches, threshold at "
        f"{RATE:.0%} of calibration and stream as first seen; settings chosen on lights {' and '.join(CHOSEN_ON)}"
    )
    outcomes = {name: [run(line, order, name) for order in orders] for name in names}
    for name, found in outcomes.items():
        bench.say(f"light {name}: {_summary(found)}")
    everything = [outcome for found in outcomes.values() for outcome in found]
    bench.say(f"all:     {_summary(everything)}")
    ours = {field: fmean(getattr(outcome, field) for outcome in everything) for field in Outcome.__annotations__}
    return [
        from_values("learning_frr", ours["frr"], 0.10, unit="share", less_is_better=True, goal=1.0),
        from_values("learning_recall", ours["recall"], 0.55, unit="share", goal=1.0),
        from_values("learning_taps", ours["taps"], 12, unit="frames", less_is_better=True, goal=1.0),
        from_values("learning_auroc", ours["auroc"], 0.823, unit="AUROC", goal=1.0),
        from_values("learning_home", ours["home"], ours["home_refit"] - 0.005, unit="AUROC", goal=1.0),
    ]


class Line:
    """The frames' patch embeddings, made once: int16 (P, D) with one scale."""

    def __init__(self, bench: Bench, lights: Mapping[str, Any]) -> None:
        self.scored: Mapping[str, Mapping[str, Sequence[str]]] = lights["scored"]
        self._folder = bench.data / PRODUCT
        spec = msgspec.structs.replace(pinned(EFFICIENTNET_LITE0), stages=STAGES)
        self._extractor = load_backbone(spec, torch.device("cpu"))
        self._patches: dict[str, Rows] = {}
        first = [self._embed(path) for path in lights["orders"][0]["fit"][:8]]
        # One scale for all: a recipe's fit takes it from its own frames, with the same headroom.
        self.scale = scale_for(max(float(np.abs(values).max()) for values in first))

    def patches(self, path: str) -> Rows:
        """The stored embeddings of one frame."""
        if path not in self._patches:
            self._patches[path] = quantise(self._embed(path), self.scale)
        return self._patches[path]

    def sq(self, path: str, state: OnlineCoreset) -> NDArray[np.float64]:
        """Squared distances of a frame's patches to their nearest rows, (P,)."""
        return sq_to_nearest(self.patches(path), state.rows)[0]

    def score(self, sq: NDArray[np.float64]) -> float:
        """The mean distance of the farthest patches."""
        return self.scale * float(np.sqrt(np.sort(sq)[-WORST:]).mean())

    def scores(self, paths: Sequence[str], state: OnlineCoreset) -> NDArray[np.float64]:
        """Scores of several frames, (F,)."""
        return np.array([self.score(self.sq(path, state)) for path in paths])

    def _embed(self, path: str) -> NDArray[np.float32]:
        image = cv2.imread(str(self._folder / path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise FileNotFoundError(f"{self._folder / path}: cannot be read as an image")
        pixels = level(prepare(np.asarray(image, dtype=np.uint8), SIZE_PX))
        maps = self._extractor.feature_maps(self._extractor.normalise(pixels[None]))
        return np.asarray(embed_centred([m.float() for m in maps], GRID)[0].numpy())


def run(line: Line, order: Mapping[str, Any], light: str) -> Outcome:
    """One order under one light."""
    first = _fit(line, order["fit"], round(FRACTION * len(order["fit"]) * GRID[0] * GRID[1]))
    learned = Learning(first, line.patches)
    passed: list[float] = []
    confirmed: list[float] = []

    def threshold() -> float:
        return learned_threshold(calibration, np.array(passed), np.array(confirmed), RATE).value

    calibration = line.scores(order["calibration"], learned.state)
    current = threshold()
    before = _judge(line, light, learned.state, current)
    for path in order["stream"][light]:
        sq = line.sq(path, learned.state)
        score = line.score(sq)
        if score > current:
            confirmed.append(score)
            learned.learn(path, sq)
            calibration = line.scores(order["calibration"], learned.state)
        else:
            passed.append(score)
        current = threshold()
    after = _judge(line, light, learned.state, current)
    rows = len(learned.state.rows)
    refit = _fit(line, [*order["fit"], *order["stream"][light]], rows)
    return Outcome(
        frr_before=before[0],
        frr=after[0],
        recall_before=before[1],
        recall=after[1],
        auroc_before=before[2],
        auroc=after[2],
        auroc_refit=_judge(line, light, refit, 0.0)[2],
        home=_judge(line, "1", learned.state, 0.0)[2],
        home_refit=_judge(line, "1", refit, 0.0)[2],
        taps=len(confirmed),
        rows=rows - len(first.rows),
    )


def _fit(line: Line, paths: Sequence[str], rows: int) -> OnlineCoreset:
    vectors = np.concatenate([line.patches(path) for path in paths])
    coreset = greedy_coreset(vectors, rows, seed=0)
    frame, patch = np.divmod(coreset.indices, GRID[0] * GRID[1])
    return begin(
        vectors[coreset.indices],
        frame.astype(np.int32),
        patch.astype(np.int32),
        tuple(paths),
        sq_covering=sq_integer(coreset.radius, 1.0),
        admission=ADMISSION,
        budget=BUDGET,
    )


def _judge(line: Line, light: str, state: OnlineCoreset, threshold: float) -> tuple[float, float, float]:
    """False-reject rate, recall and AUROC on the scored frames of a light."""
    good = line.scores(line.scored[light]["good"], state)
    defective = line.scores(line.scored[light]["defective"], state)
    labels = np.concatenate([np.zeros(len(good), dtype=bool), np.ones(len(defective), dtype=bool)])
    auroc = image_auroc(np.concatenate([good, defective]), labels)
    return float((good > threshold).mean()), float((defective > threshold).mean()), auroc


def _summary(found: Sequence[Outcome]) -> str:
    mean = {field: fmean(getattr(outcome, field) for outcome in found) for field in Outcome.__annotations__}
    return (
        "good rejected {frr_before:.3f} -> {frr:.3f}, defects rejected {recall_before:.3f} -> {recall:.3f}, "
        "AUROC {auroc_before:.3f} -> {auroc:.3f} (refit {auroc_refit:.3f}), "
        "light 1 {home:.3f} (refit {home_refit:.3f}), taps {taps:.1f}, rows added {rows:.0f}"
    ).format(**mean)
