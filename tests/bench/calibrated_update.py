"""What calibration frames cost a learner: an update with as many as a fit takes, and the memory that they lie in.

Each of them is a reference frame: every update lowers its distances by the rows that it adds and scores it again. The
learner is a process of its own, on banks of 3,000 rows at 152 values (EfficientNet-Lite0) and at 1,536 (WideResNet-50).
What a tap takes beside frames, by way of Kafka, is the figure `tap`.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.preprocess import prepare
from patchline.engine.fitting.fit import fit
from patchline.engine.numerics.quantise import quantise
from patchline.engine.recipe import Recipe
from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.learning_line import FITTED, altered
from tests.bench.peer import REPOSITORY
from tests.bench.row import Row, from_values

TAPS = 40
GIB = 2**30


def calibrated_update(bench: Bench) -> list[Row]:
    """Seconds of an update, proposal and commit, and private memory of the learner with its calibration frames."""
    rows = []
    for weights in (workload.efficientnet_lite0(), workload.wide_resnet50()):
        bank = _bank(bench, weights)
        with TemporaryDirectory(dir=bench.build) as folder:
            store = shutil.copytree(bank, Path(folder, "bank"))
            frames = _tapped(bench, weights, store, Path(folder, "frames.npy"))
            said = _learn(store, frames)
        seconds, D = np.array(said["seconds"]), said["dimensions"]
        bench.say(
            f"{weights.timm_name}, {weights.stated}: {said['rows']} rows of {D} values, {said['calibration']} "
            f"calibration frames; {len(seconds)} taps add {said['added'] / len(seconds):.0f} rows each: median "
            f"{np.median(seconds):.3f} s, worst {seconds.max():.3f} s, of which the commit {said['commit_s']:.3f} s; "
            f"longest step {said['step_s']:.3f} s; opening and warming up {said['warm_up_s']:.1f} s; private memory "
            f"{said['before_bytes'] / GIB:.2f} GiB before, {said['after_bytes'] / GIB:.2f} GiB with the frames, "
            f"{said['peak_bytes'] / GIB:.2f} GiB after all taps"
        )
        held = (said["after_bytes"] - said["before_bytes"]) / GIB
        own = said["patch_bytes"] / GIB
        rows += [
            from_values(f"update_{D}_values", float(np.median(seconds)), 1.0, goal=None, unit="s", less_is_better=True),
            # The peer is what the frames' patches take as they are stored.
            from_values(f"learner_memory_{D}_values", held, own, goal=None, unit="GiB", less_is_better=True),
        ]
    return rows


def _bank(bench: Bench, weights: workload.Weights) -> Path:
    """A bank of `FITTED` tiles with its calibration frames, made once and kept."""
    paths = [path for part in workload.fitted_paths(bench, "magnetic_tile", FITTED) for path in part]
    recipe = Recipe(name="tile", backbone=weights.spec, image_size_px=workload.SIZE_PX)
    what = "|".join([repr(recipe), *map(str, paths)])
    kept = bench.build / f"calibrated-bank-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    if not kept.exists():
        bench.say(f"fitting {len(paths)} frames with {weights.timm_name}, once ...")
        with TemporaryDirectory(dir=bench.build) as made:
            out = Path(made, "bank")
            images = [(path.name, workload.read(path)) for path in paths]
            report = fit(images, recipe, device="cpu", keep=GenerationStore(str(out)).keep, scratch=Path(made))
            save_bank(report.bank, out, report.calibration)
            out.rename(kept)
    return kept


def _tapped(bench: Bench, weights: workload.Weights, store: Path, path: Path) -> Path:
    """Write the patches of altered tiles, int16 (F, P, D)."""
    scale = GenerationStore(str(store)).bank(1).scale
    extractor = load_backbone(weights.spec, torch.device("cpu"))
    found = []
    tiles = workload.fitted_paths(bench, "magnetic_tile")[0]
    for number in range(4 if bench.quick else TAPS):
        pixels = cv2.imdecode(
            np.frombuffer(altered(tiles[number % len(tiles)], number), np.uint8), cv2.IMREAD_COLOR_RGB
        )
        image = prepare(np.asarray(pixels, dtype=np.uint8), workload.SIZE_PX)
        found.append(quantise(extractor.embed([image])[0][0].numpy(), scale))
    np.save(path, np.stack(found))
    return path


def _learn(store: Path, frames: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.learner_worker", str(store), str(frames)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=False)
    if done.returncode:
        raise FigureUnavailableError(f"the learner ended with {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
