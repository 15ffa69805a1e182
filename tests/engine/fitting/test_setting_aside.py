"""A fit with defects among its images: no row is theirs, they count, and a person decides."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from patchline.engine.bank.store import load_bank, save_bank
from patchline.engine.errors import EngineError
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.fitting.reading import NamedImage
from patchline.engine.recipe import Recipe
from tests.engine.conftest import texture, textures

BAD = ("bad-0", "bad-1", "bad-2")


def images() -> Sequence[NamedImage]:
    """30 good textures, and three with the same bright square on them."""
    drawn = list(textures(30))
    for number, name in enumerate(BAD):
        spotted = texture(60 + number)
        spotted[20:36, 28:44] = (250, 30, 30)
        drawn.insert(7 * number + 3, (name, spotted))
    return drawn


@pytest.fixture(scope="module")
def strict(recipe: Recipe) -> Recipe:
    return structs.replace(recipe, false_reject_rate=0.05)


@pytest.fixture(scope="module")
def report(strict: Recipe) -> FitReport:
    return fit(images(), strict, device="cpu")


def rows_by_name(report: FitReport) -> list[tuple[str, int]]:
    return [report.bank.provenance(row) for row in range(len(report.bank.rows))]


def test_what_is_set_aside_gives_no_rows_and_no_calibration_frame(report: FitReport) -> None:
    """But it counts: k is that of all 33 frames, which is beyond the 30 that have scores."""
    bank = report.bank
    assert tuple(image.name for image in bank.set_aside) == BAD
    assert all(image.counts for image in bank.set_aside)
    assert not set(BAD) & {frame.name for frame in bank.frames}
    assert not set(BAD) & {name for name, _ in bank.calibration_patches}
    assert (bank.calibration.frames, bank.calibration.set_aside) == (30, 3)
    assert ceil(34 * Fraction(95, 100)) > 30
    assert report.threshold == bank.calibration.scores[-1]
    assert report.figures.rates == (4 / 34, 1 / 31)
    assert report.figures.proved is None
    assert "3 of 33 images were set aside" in report.figures.unproved
    assert report.patches == 30 * 256


def test_where_the_rank_lies_among_the_others_nothing_else_changes(recipe: Recipe) -> None:
    """At 20 % k is the 28th of 33."""
    found = fit(images(), recipe, device="cpu")
    assert found.threshold == found.bank.calibration.scores[ceil(34 * Fraction(4, 5)) - 1]
    assert found.figures.rates is None


def test_the_bank_is_the_union_of_the_coresets_of_the_images_that_stay(report: FitReport, strict: Recipe) -> None:
    """Each fold's rows are those of a fold without what is set aside; folds that lost nothing are as with --keep."""
    kept = fit(images(), strict, device="cpu", trusted={"all"})
    assert set(BAD) & {frame.name for frame in kept.bank.frames}
    assert kept.bank.set_aside == ()
    lost = {frame.fold for frame in kept.bank.frames if frame.name in BAD}
    of = {frame.name: frame.fold for frame in kept.bank.frames} | {f.name: f.fold for f in report.bank.frames}
    for fold in range(5):
        ours, theirs = ([row for row in rows_by_name(r) if of[row[0]] == fold] for r in (report, kept))
        assert (ours == theirs) == (fold not in lost)


def test_excluded_images_might_never_have_been_there(report: FitReport, strict: Recipe) -> None:
    """By name and by `all` alike: the same bank as a fit of the others."""
    others = fit([image for image in images() if image[0] not in BAD], strict, device="cpu")
    by_name = fit(images(), strict, device="cpu", exclude=set(BAD))
    by_look = fit(images(), strict, device="cpu", exclude={"all"})
    assert others.bank.sha256 == by_name.bank.sha256
    assert by_look.left_out == BAD
    assert by_look.bank.calibration.frames == 30
    assert by_look.bank.calibration.set_aside == 0
    if by_look.bank.scale == others.bank.scale:
        assert by_look.bank.sha256 == others.bank.sha256


def test_a_person_who_keeps_one_keeps_that_one(strict: Recipe) -> None:
    """The others are set aside all the same."""
    found = fit(images(), strict, device="cpu", trusted={"bad-1"})
    assert {image.name for image in found.bank.set_aside} == {"bad-0", "bad-2"}
    assert "bad-1" in {frame.name for frame in found.bank.frames}


def test_names_are_checked_before_anything_is_dealt(strict: Recipe) -> None:
    """And groups stay those of their images."""
    with pytest.raises(EngineError, match="'nobody': no image of the fit has this name"):
        fit(images(), strict, device="cpu", exclude={"nobody"})
    groups = [number // 3 for number in range(33)]
    found = fit(images(), strict, groups=groups, device="cpu", exclude={"bad-0", "good-0"}, trusted={"all"})
    assert found.figures.groups == 11
    assert found.figures.frames == 31


def test_with_further_images_for_the_threshold_nothing_is_set_aside(recipe: Recipe) -> None:
    """No image that gives rows has a score by rows that do not know it."""
    found = fit(images(), recipe, calibration=textures(6, start=200), device="cpu")
    assert (found.bank.set_aside, found.oddest) == ((), ())


def test_the_oddest_come_first(report: FitReport) -> None:
    """By held-out scores, set aside or not, each with a map that shows where."""
    assert len(report.oddest) == 12
    assert {odd.name for odd in report.oddest[:3]} == set(BAD)
    assert [odd.set_aside for odd in report.oddest] == [True] * 3 + [False] * 9
    scores = [odd.score for odd in report.oddest]
    assert scores == sorted(scores, reverse=True)
    assert scores[3] == report.bank.calibration.scores[-1]
    spot = report.oddest[0].anomaly_map
    assert spot.shape == (64, 64)
    row, column = np.unravel_index(spot.argmax(), spot.shape)
    assert 16 <= row < 40
    assert 24 <= column < 48


def test_the_store_remembers_what_was_set_aside(report: FitReport, tmp_path: Path) -> None:
    """Names, groups and how many count."""
    save_bank(report.bank, tmp_path)
    bank = load_bank(tmp_path)
    assert bank.sha256 == report.bank.sha256
    assert bank.set_aside == report.bank.set_aside
    assert bank.calibration.set_aside == 3


def test_a_lower_precision_sets_the_same_aside(strict: Recipe) -> None:
    """And is measured on the images that stay."""
    lower = structs.replace(strict, backbone=structs.replace(strict.backbone, precision="int8"))
    found = fit(images(), lower, device="cpu")
    assert tuple(image.name for image in found.bank.set_aside) == BAD
    assert found.precision is not None
    assert found.precision.frames == 30
