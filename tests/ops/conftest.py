"""A small bank of made-up texture, fitted once by the real command; and the command, in this process or its own."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from patchline.ops.cli import app

PATCHLINE = str(Path(sys.executable).with_name("patchline"))


def patchline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which has torch already; what it does not raise on purpose fails the test."""
    words = [str(a) for a in arguments]
    with patch.object(sys, "argv", ["patchline", *words]):  # which a fit repeats to its user
        done = CliRunner().invoke(app, words, prog_name="patchline", catch_exceptions=False)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def installed(*arguments: object, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own, to its end."""
    command = [PATCHLINE, *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def texture(seed: int, *, spot: bool = False) -> np.ndarray:
    """Grey noise, (96, 80, 3), with a bright square on it where asked for."""
    noise = np.random.default_rng(seed)
    image = np.repeat(noise.integers(90, 130, (96, 80, 1), dtype=np.uint8), 3, axis=2)
    if spot:
        image[30:54, 20:44] = (255, 40, 40)
    return image


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in MVTec's layout: 12 good images to fit; 4 good and 4 spotted to test, the spots masked."""
    root = tmp_path_factory.mktemp("parts")
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[30:54, 20:44] = 255
    for folder, seeds, spot in (("train/good", range(12), False), ("test/good", range(50, 54), False)):
        write_images(root / folder, seeds, spot=spot)
    write_images(root / "test" / "spot", range(80, 84), spot=True)
    (root / "ground_truth" / "spot").mkdir(parents=True)
    for seed in range(80, 84):
        PillowImage.fromarray(mask).save(root / "ground_truth" / "spot" / f"{seed:03d}_mask.png")
    return root


def write_images(folder: Path, seeds: range, *, spot: bool) -> None:
    """One PNG a seed."""
    folder.mkdir(parents=True)
    for seed in seeds:
        PillowImage.fromarray(texture(seed, spot=spot)).save(folder / f"{seed:03d}.png")


FIT = (
    "--backbone",
    "resnet18",
    "--weights",
    "random:1",
    "--stages",
    "layer1,layer2",
    "--size",
    "64",
    "--least-rows",
    "0",
)


@pytest.fixture(scope="session")
def bank(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank named `tile`, fitted to the good images."""
    out = tmp_path_factory.mktemp("banks") / "tile"
    done = patchline("fit", parts / "train" / "good", "--out", out, *FIT, "--false-reject-rate", 0.2, "--coreset", 0.2)
    assert done.returncode == 0, done.stderr
    for word in ("rows", "radius", "threshold", "aimed", "proved", "uncertainty", "promise", "time", "held-out"):
        assert word in done.stdout
    return out
