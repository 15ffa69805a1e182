"""A store from elsewhere, whatever is in it, is read as a bank or refused by name, within bounded time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.learning.learner import Learner
from tests.engine.learning_worlds import RECIPE, confirm, confirmation, fitted_by_folds, take, unlearn
from tests.services.process import REPOSITORY


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four generations: a fit, a frame learned, a known defect, a frame unlearned."""
    folder = tmp_path_factory.mktemp("store")
    save_bank(fitted_by_folds(RECIPE)[0], folder)
    learner = Learner.open(GenerationStore(folder))
    confirm(learner, confirmation(0))
    take(learner, learner.confirm_defect(confirmation(1)))
    unlearn(learner, "f0")
    return folder


@pytest.mark.parametrize("kind", ["fields", "arrays", "bytes"])
def test_whatever_is_in_a_store_it_is_read_or_refused(store: Path, tmp_path: Path, kind: str) -> None:
    """Every field with every hostile value, every array in other shapes, every file with other bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.bank.hostile_trials", str(store), str(tmp_path / "work"), kind],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.stderr[-2000:], said[-3:])
    assert said[:-1] == []
    assert said[-1]["tried"] > 100


def test_a_bank_by_folds_is_read_as_it_was_fitted(tmp_path: Path) -> None:
    """What is refused of others is what a fit never makes: a bank by folds is read, and so is what it learns."""
    bank, _ = fitted_by_folds(RECIPE)
    save_bank(bank, tmp_path)
    assert load_bank(tmp_path).sha256 == bank.sha256
    later = confirm(Learner.open(GenerationStore(tmp_path)), confirmation(3))
    assert load_bank(tmp_path).sha256 == later.sha256 != bank.sha256
