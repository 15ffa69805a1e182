"""The worker's settings in `deploy/`."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from patchline.engine.bank.store import save_bank
from patchline.engine.features.weights import random_backbone
from patchline.engine.fitting.fit import fit
from patchline.engine.recipe import Recipe
from patchline.ops.service.preflight import check_settings
from tests.services.process import REPOSITORY

SETTINGS = REPOSITORY / "deploy" / "patchline.yaml"


def test_worker_settings_pass_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With banks of its recipes' names, the settings file of the compose stack has no problem."""
    noise = np.random.default_rng(0)
    good = [(str(i), noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for i in range(6)]
    names = yaml.safe_load(SETTINGS.read_text())["recipes"]
    for name in names:
        recipe = Recipe(name=name, backbone=random_backbone(), image_size_px=(64, 64), false_reject_rate=0.4)
        save_bank(fit(good, recipe).bank, tmp_path / name)
        monkeypatch.setenv(f"PATCHLINE__RECIPES__{name.upper()}__BANK", str(tmp_path / name))
    report = check_settings(SETTINGS)
    assert report.problems == []
    assert report.settings is not None
    assert set(report.settings.recipes) == set(names)
