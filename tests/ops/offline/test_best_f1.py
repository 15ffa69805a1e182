"""The threshold of an evaluation's best F1, for the bank that the evaluation judged by and no other."""

import hashlib
import json
from pathlib import Path

import pytest

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import ThresholdChoice
from patchline.ops.errors import InputError
from patchline.ops.offline.best_f1 import best_threshold, read_best_f1
from tests.engine.learning_worlds import choose, confirm, confirmation, new_store


def written(file: Path, bank: MemoryBank, **other: object) -> Path:
    """An evaluation of a bank, in so far as it is read."""
    generation = {"number": bank.generation, "sha256": bank.sha256}
    figures = {"f1_max": 0.9, "f1_max_threshold": 24.5, "image_auroc": 0.95, "undefined": {}}
    file.write_text(json.dumps({"recipe": bank.recipe.name, "generation": generation, **figures, **other}))
    return file


def test_an_evaluation_of_the_same_rows_counts(tmp_path: Path) -> None:
    """Of the newest generation, and of one before it where only a threshold was chosen since; the file is named."""
    store = new_store(tmp_path / "bank")
    learner = Learner.open(store)
    file = written(tmp_path / "evaluation.json", learner.bank)
    found, sha256 = read_best_f1(file)
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert best_threshold(found, file, store, learner.bank) == 24.5
    chosen = choose(learner, ThresholdChoice(feedback_id="a", operator="lee", rate=0.5))
    assert chosen.sha256 != found.generation.sha256
    assert best_threshold(found, file, GenerationStore(tmp_path / "bank"), chosen) == 24.5


def test_an_evaluation_of_other_rows_is_refused(tmp_path: Path) -> None:
    """Of a generation before, of another bank, of another recipe: each error says what was found."""
    store = new_store(tmp_path / "bank")
    learner = Learner.open(store)
    first = written(tmp_path / "first.json", learner.bank)
    bank = confirm(learner, confirmation(1))
    with pytest.raises(InputError, match=r"first.json: generation: found 1, whose rows are not those of generation 2"):
        best_threshold(read_best_f1(first)[0], first, store, bank)
    for generation in ({"number": 1, "sha256": "0" * 64}, {"number": 7, "sha256": "0" * 64}):
        other = written(tmp_path / "other.json", bank, generation=generation)
        number = generation["number"]
        with pytest.raises(InputError, match=f"found {number} with SHA-256 000.*, which .*bank does not hold"):
            best_threshold(read_best_f1(other)[0], other, store, bank)
    other = written(tmp_path / "other.json", bank, recipe="plate")
    with pytest.raises(InputError, match="recipe: found 'plate', expected an evaluation of 'part'"):
        best_threshold(read_best_f1(other)[0], other, store, bank)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PNG\xff", "expected the evaluation.json that `patchline evaluate` writes"),
        (b'{"recipe": "part"}', "missing required field `generation`; expected the evaluation.json"),
        (b"[1, 2]", "expected the evaluation.json"),
        (
            b'{"recipe": "part", "generation": {"number": 1, "sha256": ""}, "f1_max": null, "f1_max_threshold": null, '
            b'"undefined": {"f1_max": "no frame is defective"}}',
            "f1_max_threshold: no frame is defective; expected an evaluation with good and defective frames",
        ),
    ],
)
def test_what_is_no_evaluation_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """The file, what was found and what was expected."""
    file = tmp_path / "verdicts.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_best_f1(file)
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)
    with pytest.raises(InputError, match=r"nowhere.json: cannot be read: No such file"):
        read_best_f1(tmp_path / "nowhere.json")
