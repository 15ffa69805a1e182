"""Which images look contaminated: patches drawn at random, with defects that vouch for each other among them."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.fitting import contamination
from patchline.engine.fitting.contamination import contaminated
from patchline.engine.fitting.folds import Plan, plan_folds
from patchline.engine.fitting.scratch import EmbeddingFile
from patchline.engine.fitting.stages import EmbeddedImages
from patchline.engine.types import Rows
from tests.engine.learning_worlds import GRID, RECIPE, D, P

GOOD = 40


def good(number: int) -> Rows:
    """Patches near the cells' own places, which all good images share."""
    rng = np.random.default_rng(number)
    places = np.random.default_rng(10**6).integers(-1000, 1000, (P, D))
    return np.asarray(places + rng.integers(-40, 41, (P, D)), dtype=np.int16)


def defect(number: int, shift: int = 400) -> Rows:
    """A good image but for two patches, which lie where those of other defects of this shift do."""
    patches = good(number)
    patches[3:5] += np.int16(shift)
    return patches


def world(
    images: list[Rows], folder: Path, files: ExitStack, groups: list[int] | None = None
) -> tuple[EmbeddedImages, Plan]:
    plan = plan_folds(groups or list(range(len(images))), RECIPE)
    made = [files.enter_context(EmbeddingFile(folder / f"{fold}", D)) for fold in range(plan.folds)]
    embedded = EmbeddedImages(made, GRID, positions=[[] for _ in made])
    for position, patches in enumerate(images):
        made[plan.fold_of[position]].append_stored(patches, 1.0)
        embedded.positions[plan.fold_of[position]].append(position)
        embedded.names.append(f"image-{position}")
    return embedded, plan


def found(
    images: list[Rows], folder: Path, groups: list[int] | None = None, trusted: tuple[int, ...] = ()
) -> tuple[int, ...]:
    with ExitStack() as files:
        embedded, plan = world(images, folder, files, groups)
        coresets = [greedy_coreset(file.rows(), len(file) // 2, seed=0) for file in embedded.files]
        return contaminated(embedded, coresets, plan, trusted)


def test_defects_of_one_kind_do_not_vouch_for_each_other(tmp_path: Path) -> None:
    """A fifth of the images have the same defect, in every fold: all are found, and no good one."""
    images = [good(n) for n in range(GOOD)] + [defect(100 + n) for n in range(10)]
    assert found(images, tmp_path) == tuple(range(GOOD, GOOD + 10))


@pytest.mark.parametrize("count", [10, 20, 60])
def test_good_images_alone_are_none(tmp_path: Path, count: int) -> None:
    """Neither with few images nor with more."""
    assert found([good(n) for n in range(count)], tmp_path) == ()


def test_equal_images_have_no_spread_to_be_odd_by(tmp_path: Path) -> None:
    """Scores that hardly differ, or are all 0, name nothing; one that differs is found."""
    same = [good(1)] * 20
    assert found(same, tmp_path) == ()
    (tmp_path / "more").mkdir()
    assert found([*same[:19], defect(1)], tmp_path / "more") in ((), (19,))


def test_a_kind_of_good_image_that_is_common_is_not_odd(tmp_path: Path) -> None:
    """Of two kinds of part, one two in five of all, neither is a defect."""
    images = [defect(n) if n % 5 < 2 else good(n) for n in range(GOOD)]
    assert found(images, tmp_path) == ()


def test_fewer_than_ten_groups_are_not_judged(tmp_path: Path) -> None:
    """What is common cannot be told of nine."""
    assert found([*(good(n) for n in range(8)), defect(9)], tmp_path) == ()


def test_who_is_trusted_is_good(tmp_path: Path) -> None:
    """Also its group; the others are found all the same."""
    images = [good(n) for n in range(GOOD)] + [defect(100 + n) for n in range(4)]
    assert found(images, tmp_path, trusted=(GOOD, GOOD + 2)) == (GOOD + 1, GOOD + 3)
    (tmp_path / "groups").mkdir()
    groups = [*range(GOOD), GOOD, GOOD, GOOD + 1, GOOD + 1]
    assert found(images, tmp_path / "groups", groups, trusted=(GOOD,)) == (GOOD + 2, GOOD + 3)


def test_a_group_is_odd_as_a_whole(tmp_path: Path) -> None:
    """Copies do not vouch for each other, however many they are, and a good view goes with the odd one."""
    images = [good(n) for n in range(GOOD)] + [defect(100)] * 5 + [good(300)]
    groups = [*range(GOOD), *[GOOD] * 5, GOOD]
    assert found(images, tmp_path, groups) == tuple(range(GOOD, GOOD + 6))


def test_a_fold_keeps_its_least_odd_image(tmp_path: Path) -> None:
    """Two images a fold, and a fold whose both are defects: a bank needs rows of each fold."""
    images = [good(n) for n in range(10)]
    _, plan = world(images, tmp_path, files := ExitStack())
    files.close()
    odd = [n for n in range(10) if plan.fold_of[n] == 2]
    images[odd[0]], images[odd[1]] = defect(100, 900), defect(101)
    (tmp_path / "odd").mkdir()
    assert found(images, tmp_path / "odd") == (odd[0],)


def test_more_images_than_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sample of the images to compare with, who shares what is odd is found among all of them."""
    images = [good(n) for n in range(GOOD)] + [defect(100 + n) for n in range(8)]
    monkeypatch.setattr(contamination, "REFERENCES", 16)
    assert found(images, tmp_path) == tuple(range(GOOD, GOOD + 8))
