"""A recipe may let its learned threshold follow the stream's good frames, as first seen."""

import numpy as np
from msgspec import structs

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from tests.engine.learning_worlds import RECIPE, confirm, confirmation, new_store, unlearn

FOLLOWS = structs.replace(RECIPE, stream_scores=True)
PASSED = [101.0, 102.0, 103.0, 104.0]


def test_the_threshold_is_the_quantile_of_calibration_and_stream() -> None:
    """Passed and confirmed frames count with the scores that they were first seen with, also once read from the store;
    the manifest claims no promise.
    """
    store = new_store("memory://stream-scores", FOLLOWS)
    learner = Learner.open(store)
    for score in PASSED:
        learner.note_pass(score)
    bank = confirm(learner, confirmation(1, score=150.0))
    seen = np.array([*bank.calibration.scores, *PASSED, 150.0])
    assert bank.threshold == calibrate(seen, FOLLOWS.false_reject_rate).threshold
    bank = confirm(Learner.open(store), confirmation(2, score=160.0))
    seen = np.array([*bank.calibration.scores, *PASSED, 150.0, 160.0])
    assert bank.threshold == calibrate(seen, FOLLOWS.false_reject_rate).threshold
    assert "promises nothing" in GenerationStore("memory://stream-scores").manifest().promise
    assert "with probability at most" in GenerationStore("memory://stream-scores").manifest(1).promise


def test_an_unlearned_frame_no_longer_counts() -> None:
    """Unlearning takes a frame's score away with its rows: the bank is that of a learner which never saw it."""
    learner, never = (Learner.open(new_store(f"memory://{name}", FOLLOWS)) for name in ("unlearned", "never"))
    for score in PASSED:
        learner.note_pass(score)
        never.note_pass(score)
    confirm(learner, confirmation(1, score=150.0))
    kept = confirm(never, confirmation(2, score=160.0))
    confirm(learner, confirmation(2, score=160.0))
    assert unlearn(learner, "f1").sha256 == kept.sha256


def test_other_recipes_keep_to_their_calibration_frames() -> None:
    """By default what passes moves no threshold."""
    learner = Learner.open(new_store("memory://calibrated"))
    learner.note_pass(500.0)
    bank = confirm(learner, confirmation(1, score=600.0))
    assert bank.threshold == calibrate(bank.calibration.scores, RECIPE.false_reject_rate).threshold
