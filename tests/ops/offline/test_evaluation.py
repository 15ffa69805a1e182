"""What is said of an evaluation's threshold: the rate that it aims at, or that a person chose it."""

from dataclasses import replace

import numpy as np

from patchline.engine.bank.calibration import calibrate_at
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.evaluation.metrics import evaluate
from patchline.ops.offline.evaluation import Evaluated, as_document, evaluation_table
from tests.engine.learning_worlds import fitted


def evaluated(bank: MemoryBank) -> Evaluated:
    scores, kinds = np.array([1.0, 2.0, 1e4]), ["good", "good", "scratch"]
    figures = evaluate(scores, kinds, threshold=bank.threshold)
    return Evaluated(bank=bank, recipe="part", figures=figures, results=[], scores=scores, kinds=kinds)


def test_a_threshold_that_follows_states_its_aim() -> None:
    """The rate asked for, in the document and in the remark under the table."""
    found = evaluated(fitted()[0])
    assert as_document(found)["asked_false_reject_rate"] == 0.2
    assert "0 of 2 good frames rejected (0.0 %; aimed at 20 %, on 5 held-out frames)" in evaluation_table(found)[1][0]


def test_a_threshold_that_a_person_chose_states_no_aim() -> None:
    """No rate was asked for; the share of held-out frames above it is named as what it is."""
    bank = fitted()[0]
    middle = float(bank.calibration.scores[2])
    found = evaluated(replace(bank, calibration=calibrate_at(bank.calibration.scores, middle)))
    document = as_document(found)
    assert document["asked_false_reject_rate"] is None
    assert "promises nothing; 40 % of 5 held-out good frames score above it" in document["promise"]
    remark = evaluation_table(found)[1][0]
    assert "(0.0 %; a person chose it, and 40 % of 5 held-out frames lie above it)" in remark
