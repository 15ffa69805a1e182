"""`patchline bank threshold`: chosen by a rate, a value or an evaluation, shown before it is done, and said loudly."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.ops.cli import app
from tests.engine.learning_worlds import confirm, confirmation, new_store
from tests.ops.offline.test_best_f1 import written
from tests.version_0_1_0 import DATA


def bank(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bank", *(str(a) for a in arguments)], env={"COLUMNS": "200"})


def told(*arguments: object) -> dict[str, Any]:
    done = bank(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_rate_is_chosen_and_followed(tmp_path: Path) -> None:
    """A dry run shows both thresholds and promises and writes nothing; what is learned later is judged by the rate."""
    store = new_store(tmp_path)
    first = store.bank()
    wanted = calibrate(first.calibration.scores, 0.5).threshold
    shown = bank("threshold", tmp_path, "--false-reject-rate", 0.5, "--dry-run")
    assert f"threshold {first.threshold:.6g} -> {wanted:.6g}" in shown.stdout
    assert f"before: {first.promise}\nafter: a good frame scores above {wanted:.6g} with probability" in shown.stdout
    assert "nothing is written" in shown.stdout
    assert store.newest() == 1
    done = told("threshold", tmp_path, "--false-reject-rate", 0.5, "--operator", "lee", "--reason", "stops")
    assert (done["generation"], done["threshold_before"], done["threshold_after"]) == (2, first.threshold, wanted)
    assert (done["false_reject_rate_before"], done["false_reject_rate_after"]) == (0.2, 0.5)
    assert done["threshold_follows"]
    line = told("log", tmp_path, "--newest", 1)
    assert (line["what"], line["operator"], line["reason"]) == (
        "threshold for a false-reject rate of 0.5",
        "lee",
        "stops",
    )
    after = confirm(Learner.open(store), confirmation(1))
    assert after.threshold == calibrate(after.calibration.scores, 0.5).threshold
    assert "threshold for a false-reject rate of 0.5 (lee" in bank("show", tmp_path).stdout
    assert bank("verify", tmp_path).exit_code == 0


def test_a_value_stays_and_says_whom_it_lets_pass(tmp_path: Path) -> None:
    """The known defects that it would pass are named on stderr, also beside JSON; it is done all the same."""
    store = new_store(tmp_path)
    learner = Learner.open(store)
    for _ in learner.confirm_defect(confirmation(8, shift=60, frame="scratch")):
        pass
    learner.commit()
    done = bank("threshold", tmp_path, "--value", 5000, "--dry-run")
    assert "warning: 1 of 1 known defects are rejected now and would pass: scratch" in done.stderr
    assert "the threshold no longer follows the bank" in done.stdout
    done = bank("threshold", tmp_path, "--value", 5000, "--json")
    assert "scratch" in done.stderr
    found = json.loads(done.stdout)
    assert (found["threshold_after"], found["false_reject_rate_after"], found["threshold_follows"]) == (5000, 0, False)
    assert (found["hidden"], found["missed"]) == (["scratch"], ["scratch"])
    assert "known defects that pass now, and would: scratch" in bank("threshold", tmp_path, "--value", 6000).stdout
    assert "the threshold no longer" not in bank("threshold", tmp_path, "--value", 7000).stdout
    assert store.bank().threshold == confirm(Learner.open(store), confirmation(1)).threshold == 7000
    assert "7000 was chosen by a person, does not follow the bank" in bank("show", tmp_path).stdout


def test_the_best_f1_of_an_evaluation_is_a_value(tmp_path: Path) -> None:
    """The event names the file by its SHA-256."""
    store = new_store(tmp_path / "bank")
    file = written(tmp_path / "evaluation.json", store.bank())
    assert told("threshold", store.where, "--f1", file)["threshold_after"] == 24.5
    event = store.manifest().event
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (getattr(event, "value", None), getattr(event, "evaluation_sha256", None)) == (24.5, sha256)
    assert told("log", store.where, "--newest", 1)["what"] == (
        f"threshold set to 24.5, the best F1 of evaluation {sha256[:12]}"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected one of --false-reject-rate, --value and --f1"),
        (("--value", 3, "--false-reject-rate", 0.1), "expected one of --false-reject-rate, --value and --f1"),
        (("--false-reject-rate", 1), "--false-reject-rate: 1; expected above 0 and below 1"),
        (("--value", "inf"), "--value: inf; expected a score above 0"),
        (("--value", "nan"), "--value: nan; expected a score above 0"),
        (("--false-reject-rate", 0.01), "cannot be aimed at with 5 held-out good frames: they can aim at 0.1667"),
        (("--f1", "/nowhere.json"), "/nowhere.json: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_chosen_is_one_message(tmp_path: Path, arguments: tuple[object, ...], said: str) -> None:
    """It names the option, what was found and what was expected; the exit status is 2 and nothing is written."""
    store = new_store(tmp_path)
    done = bank("threshold", tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert store.newest() == 1


def test_a_bank_of_0_1_0_takes_a_threshold(tmp_path: Path) -> None:
    """At a rate and at a value, by its own rule, and goes back; the chain stays whole."""
    place = shutil.copytree(DATA / "bank", tmp_path / "bank")
    store = GenerationStore(place)
    before = store.bank()
    wanted = calibrate(before.calibration.scores, 0.4).threshold
    assert told("threshold", place, "--false-reject-rate", 0.4)["threshold_after"] == wanted != before.threshold
    assert told("threshold", place, "--value", 24.9)["threshold_after"] == 24.9
    assert told("rollback", place, before.generation)["sha256"] == before.sha256
    assert "a replay gives the same banks" in bank("verify", place).stdout
