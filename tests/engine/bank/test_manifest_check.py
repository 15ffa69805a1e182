"""What no manifest says is refused by file and field, with what was found and what was expected."""

import msgspec
import pytest

from patchline.engine.bank.events import Aged, ConfirmedGood, Event, Fitted, RolledBack, StoredFrame, ThresholdChosen
from patchline.engine.bank.manifest import LearningState, Manifest
from patchline.engine.bank.manifest_check import MOST_BYTES, MOST_LOG_BYTES, check_events, check_follows, check_manifest
from patchline.engine.bank.memory_bank import FrameOrigin, SetAside
from patchline.engine.errors import BankFileError
from tests.engine.learning_worlds import RECIPE, SMALL, SUM, first_manifest

LEARNING = LearningState(sq_admission=40, sq_first=10, sq_fit=90, budget=5)


def stored(**changed: object) -> StoredFrame:
    return msgspec.structs.replace(StoredFrame(name="f", sha256=SUM, bytes=100), **changed)


def later(**changed: object) -> Manifest:
    """Generation 7, a change of the one before."""
    plain = {"generation": 7, "whole": False, "frames_kept": 1, "before_sha256": SUM, "event": ConfirmedGood(
        frame=stored(), score=1.0
    )}  # fmt: skip
    return first_manifest(**(plain | changed))


def test_what_a_fit_and_learning_write_is_taken() -> None:
    """The ends of every range are."""
    check_manifest(first_manifest(), "path")
    check_manifest(later(learning=LEARNING), "path")
    check_manifest(first_manifest(tensors_bytes=4 * 14 + 5 * 12 + 2**16, threshold=0.0, covering_radius=0.0), "path")
    check_manifest(first_manifest(calibration=(stored(),) * 5, rejects=(stored(),)), "path")
    check_manifest(first_manifest(version=1), "path")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sha256": "A" * 64}, f"sha256 is '{'A' * 64}', expected 64 hexadecimal digits in lower case"),
        ({"tensors_sha256": "../" * 21 + "x"}, "tensors_sha256 is '../"),
        ({"generation": 10**10}, "generation is 10000000000, expected 1 to 1,000,000,000"),
        ({"generation": 0}, "generation is 0"),
        ({"rows": 0}, "rows is 0, expected 1 to"),
        ({"rows": 10**30}, "rows is 1000000000000000000000000000000, expected 1 to 2,147,483,647"),
        ({"rows": 5, "tensors_bytes": 500}, "rows is 5, expected 1 to 4"),
        ({"dimensions": 2**21}, "dimensions is 2097152, expected 1 to 2,097,151"),
        ({"calibration_frames": 0}, "calibration_frames is 0"),
        ({"calibration_set_aside": -1}, "calibration_set_aside is -1"),
        ({"grid": (0, 2)}, "grid is 0, expected 1 to 224"),
        ({"grid": (2, 225)}, "grid is 225, expected 1 to 224"),
        ({"folds": 0}, "folds is 0"),
        ({"folds": 2, "version": 2}, "folds is 2, expected 1"),
        ({"frames_kept": 1}, "frames_kept is 1, expected 0"),
        ({"scale": 0.0}, "scale is 0.0, expected a power of two"),
        ({"threshold": -0.1}, "threshold is -0.1, expected 0 or more"),
        ({"covering_radius": -1.0}, "covering_radius is -1.0"),
        ({"fold_radius": -1.0}, "fold_radius is -1.0"),
        ({"whole": False}, "whole is False, expected true, as nothing lies before it"),
        ({"tensors_bytes": 4 * 14 + 5 * 8 - 1}, "tensors_bytes is 95, expected 96 to"),
        ({"tensors_bytes": 2**43}, "tensors_bytes is 8796093022208, expected 96 to"),
        ({"frames": (FrameOrigin(name="good", generation=2),)}, r"frames\[0\].generation is 2, expected 1"),
        ({"calibration": (stored(),)}, "calibration is 1, expected one for each of 5 calibration frames, or none"),
        ({"calibration": (stored(sha256="../../x"),) * 5}, r"calibration\[0\].sha256 is '../../x'"),
        ({"rejects": (stored(bytes=2**43),)}, r"rejects\[0\].bytes is 8796093022208, expected 2 to 65,560"),
        ({"rejects": (stored(bytes=-1),)}, r"rejects\[0\].bytes is -1"),
        ({"log": stored(bytes=MOST_LOG_BYTES + 1)}, "log.bytes is 67108865"),
        ({"event": ConfirmedGood(frame=stored(sha256="x"), score=1.0)}, "event.frame.sha256 is 'x'"),
        ({"event": ConfirmedGood(frame=stored(bytes=MOST_BYTES), score=1.0)}, "event.frame.bytes is 17179869184"),
    ],
)  # fmt: skip
def test_what_no_first_generation_says(changed: dict[str, object], says: str) -> None:
    """Nothing is allocated, opened or compared by it."""
    with pytest.raises(BankFileError, match=f"^path: altered or foreign: {says}"):
        check_manifest(first_manifest(**changed), "path")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"before_sha256": ""}, "before_sha256 is '', expected 64"),
        ({"version": 1}, "whole is False"),
        ({"tensors_bytes": MOST_BYTES + 1}, "tensors_bytes is 17179869185"),
        ({"tensors_bytes": 7}, "tensors_bytes is 7, expected 8 to"),
        ({"frames_kept": -1}, "frames_kept is -1"),
        ({"calibration_folds": (0,)}, r"calibration_folds is \(0,\), expected to be of generation 1 alone"),
        ({"set_aside": (SetAside(name="x", group=1, counts=True),)}, "set_aside is"),
        ({"learning": msgspec.structs.replace(LEARNING, sq_first=41)}, "learning.sq_first is 41, expected 0 to 40"),
        ({"learning": msgspec.structs.replace(LEARNING, sq_admission=2**63)}, "learning.sq_admission is"),
        ({"learning": msgspec.structs.replace(LEARNING, sq_fit=-1)}, "learning.sq_fit is -1"),
        ({"learning": msgspec.structs.replace(LEARNING, budget=0)}, "learning.budget is 0, expected 1 to"),
        ({"event": RolledBack(to=7)}, "event.to is 7, expected 1 to 6"),
        ({"event": Aged(rows=(("f", 1), ("f", -1)))}, "event.rows is -1"),
        ({"event": ThresholdChosen()}, r"event is \(None, None\), expected a rate or a value"),
        ({"event": ThresholdChosen(rate=0.1, value=2.0)}, r"event is \(0.1, 2.0\)"),
    ],
)
def test_what_no_later_generation_says(changed: dict[str, object], says: str) -> None:
    """The same of a change."""
    with pytest.raises(BankFileError, match=f"^path: altered or foreign: {says}"):
        check_manifest(later(**changed), "path")


def test_the_recipe_is_one_that_a_fit_takes() -> None:
    """By the same check, and the message names the file too."""
    backbone = msgspec.structs.replace(RECIPE.backbone, std=(1.0, 0.0, 1.0))
    for recipe, says in (
        (msgspec.structs.replace(RECIPE, neighbours=0), "neighbours is 0"),
        (msgspec.structs.replace(RECIPE, image_size_px=(10**6, 10**6)), "image_size_px is"),
        (msgspec.structs.replace(RECIPE, backbone=backbone), r"std is \(1.0, 0.0, 1.0\)"),
    ):
        with pytest.raises(BankFileError, match=f"^path: altered or foreign: recipe 'part': {says}"):
            check_manifest(first_manifest(recipe=recipe), "path")


def test_a_generation_is_of_the_kind_of_the_one_before() -> None:
    """Recipe, scale, grid, dimensions and folds are for ever; a change is no larger than what it can hold."""
    check_follows(later(), first_manifest(), "path")
    for changed in ({"recipe": SMALL}, {"scale": 0.25}, {"grid": (1, 4)}, {"dimensions": 4}, {"folds": 2}):
        field = next(iter(changed))
        with pytest.raises(BankFileError, match=f"path: altered or foreign: {field} is .*, expected that of gener"):
            check_follows(later(**changed), first_manifest(), "path")
    most = 4 * 14 + 5 * 12 + 4 * 4 + 2**16
    check_follows(later(tensors_bytes=most), first_manifest(), "path")
    with pytest.raises(BankFileError, match=f"tensors_bytes is {most + 1}, expected 8 to"):
        check_follows(later(tensors_bytes=most + 1), first_manifest(), "path")


def test_a_log_is_checked_event_by_event() -> None:
    """The message says which."""
    events: list[Event] = [Fitted(), ConfirmedGood(frame=stored(), score=1.0), RolledBack(to=1)]
    check_events(events, "log")
    with pytest.raises(BankFileError, match=r"^log: altered or foreign: event 3.to is 3, expected 1 to 2"):
        check_events([*events[:2], RolledBack(to=3)], "log")
    with pytest.raises(BankFileError, match=r"^log: altered or foreign: event 1.frame.sha256 is ''"):
        check_events([ConfirmedGood(frame=stored(sha256=""), score=1.0)], "log")
