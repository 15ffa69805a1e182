"""The public Python API: what it offers, what importing it costs, and that its examples do what they say."""

import ast
import doctest
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import patchline.engine
from patchline.engine import (
    Confirmation,
    GenerationStore,
    Inspector,
    Learner,
    MemoryBank,
    PatchlineError,
    Recipe,
    Unlearning,
    fit,
    load_bank,
    preset,
    save_bank,
)
from tests.engine.conftest import textures

WITH_EXAMPLES = [
    "patchline.engine",
    "patchline.engine.bank.store",
    "patchline.engine.fitting.fit",
    "patchline.engine.inspection.inspector",
    "patchline.engine.learning.learner",
    "patchline.engine.recipe",
]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(name="part", backbone=preset("efficientnet_lite0"), image_size_px=(64, 64), false_reject_rate=0.2)


@pytest.fixture(scope="module")
def bank(recipe: Recipe) -> MemoryBank:
    return fit(textures(12), recipe, device="cpu").bank


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module: str, bank: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example in the docstrings of the public names gives what it shows, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    given = {"bank": bank, "image": textures(1, start=30)[0][1]}
    examples = [test for test in doctest.DocTestFinder().find(import_module(module), globs=given) if test.examples]
    assert examples
    for test in examples:
        said: list[str] = []
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=said.append)
        assert not runner.failures, "".join(said)


def test_importing_it_imports_no_torch() -> None:
    """`import patchline.engine` alone, its version and its names load neither torch nor FAISS nor numpy."""
    looked = (
        "import sys, patchline.engine as e; dir(e); e.__version__; "
        "print([name for name in ('torch', 'faiss', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_names_are_there_and_are_those_that_a_type_checker_sees() -> None:
    """What `__all__` lists can be had and is in `dir`; the imports for type checkers name the same modules."""
    assert set(patchline.engine.__all__) <= set(dir(patchline.engine))
    assert all(hasattr(patchline.engine, name) for name in patchline.engine.__all__)
    source = ast.parse(Path(str(patchline.engine.__file__)).read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("patchline.engine.")
        for alias in node.names
    }
    assert typed.keys() == set(patchline.engine.__all__) - {"__version__"}
    for name, module in typed.items():
        assert getattr(import_module(module), name) is getattr(patchline.engine, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = patchline.engine.nothing


def test_the_version_is_that_of_the_distribution() -> None:
    """`patchline.engine.__version__` is what was installed."""
    assert patchline.engine.__version__ == version("patchline")


def test_a_bank_that_was_fitted_and_saved_can_learn(bank: MemoryBank, tmp_path: Path) -> None:
    """Without any argument a fit leaves what learning needs: a rejected frame is learned and unlearned again."""
    save_bank(bank, tmp_path / "bank")
    learner = Learner.open(GenerationStore(tmp_path / "bank"))
    inspector = Inspector({"part": bank}, device="cpu")
    odd = np.full((64, 64, 3), 200, dtype=np.uint8)
    patches = inspector.embed("part", odd)
    before = inspector.inspect([("part", odd)])[0]
    _apply(learner.confirm_good(Confirmation(feedback_id="1", operator="kim", frame="odd", patches=patches)))
    inspector.swap("part", learner.commit())
    assert inspector.inspect([("part", odd)])[0].score < before.score
    _apply(learner.unlearn(Unlearning(feedback_id="2", operator="kim", frame="odd")))
    assert learner.commit().sha256 == bank.sha256
    assert load_bank(tmp_path / "bank").generation == 3


def test_calibration_frames_wait_with_the_bank_and_leave_no_file(recipe: Recipe, tmp_path: Path) -> None:
    """Their embeddings are those that the store keeps, whether `keep` stored them or `save_bank`."""
    store = GenerationStore(tmp_path / "kept")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kept = fit(textures(12), recipe, device="cpu", keep=store.keep)
    assert kept.bank.calibration_patches == ()
    waiting = fit(textures(12), recipe, device="cpu", scratch=scratch)
    assert waiting.calibration == ()
    assert list(scratch.iterdir()) == []
    save_bank(kept.bank, tmp_path / "kept", kept.calibration)
    save_bank(waiting.bank, tmp_path / "saved")
    assert store.manifest(1) == GenerationStore(tmp_path / "saved").manifest(1)
    assert [name for name, _ in waiting.bank.calibration_patches] == [frame.name for frame in kept.calibration]
    assert len(waiting.bank.calibration_patches) == waiting.bank.calibration.frames


def test_saving_twice_stores_nothing_more(bank: MemoryBank, tmp_path: Path) -> None:
    """A bank that is there already is refused, and its folder is left as it was."""
    save_bank(bank, tmp_path)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(PatchlineError, match="exists already"):
        save_bank(bank, tmp_path)
    assert sorted(tmp_path.rglob("*")) == files


def _apply(steps: Iterator[None]) -> None:
    for _ in steps:
        pass
