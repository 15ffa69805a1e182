"""`patchline fit` with defects among its images: what it says, what it draws, and what a person can answer."""

import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from tests.ops.conftest import FIT as FEW_ROWS
from tests.ops.conftest import patchline, texture, write_images

FIT = (*FEW_ROWS, "--coreset", "0.1", "--name", "part")
"""What is odd is told by the rows of the folds: several an image."""
COUNT = 24


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good images and two with a red square."""
    folder = tmp_path_factory.mktemp("mixed") / "good"
    write_images(folder, range(COUNT), spot=False)
    for seed in (60, 61):
        PillowImage.fromarray(texture(seed, spot=True)).save(folder / f"{seed:03d}.png")
    return folder


def test_what_is_set_aside_is_named_with_both_commands_and_drawn(good: Path, tmp_path: Path) -> None:
    """The rates of either answer, the images by their scores, and a picture of each of the twelve oddest."""
    out = tmp_path / "bank"
    done = patchline("fit", good, "--out", out, *FIT)
    assert done.returncode == 0, done.stderr
    assert "2 images SET ASIDE" in done.stderr
    assert "if what was set aside is good, 0.04 if it is defects" in done.stderr
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert f"patchline fit {good} --out {out}-without {' '.join(map(str, FIT))} --exclude all" in lines
    assert f"patchline fit {good} --out {out}-with {' '.join(map(str, FIT))} --keep all" in lines
    assert "look first" in done.stdout
    pictures = sorted(path.name for path in Path(f"{out}-look-first").iterdir())
    assert len(pictures) == 12
    assert {name[-7:] for name in pictures[:2]} == {"060.png", "061.png"}
    assert all("x-set-aside-" in name for name in pictures[:2])
    assert not any("set-aside" in name for name in pictures[2:])
    with PillowImage.open(tmp_path / "bank-look-first" / pictures[0]) as picture:
        assert picture.width > 2 * picture.height * 80 // 96
    stored = json.loads((out / "generation-000001.json").read_text())
    assert [image["name"] for image in stored["set_aside"]] == ["060.png", "061.png"]


def test_a_person_answers(good: Path, tmp_path: Path) -> None:
    """Excluded, by look or by name, they are out of the count; kept, they are good. Pictures go where they should."""
    pictures = tmp_path / "pictures"
    done = patchline("fit", good, "--out", tmp_path / "a", *FIT, "--exclude", "all", "--overlays", pictures)
    assert "left out" in done.stdout
    assert "2 that looked contaminated: 060.png, 061.png" in done.stdout
    assert "SET ASIDE" not in done.stderr
    assert len(list(pictures.iterdir())) == 12
    assert not (tmp_path / "a-look-first").exists()
    done = patchline(
        "fit",
        good,
        "--out",
        tmp_path / "b",
        *FIT,
        "--exclude",
        "060.png",
        "--exclude",
        "061.png",
        "--overlays",
        pictures,
    )
    assert "24 images in 24 groups" in done.stdout
    assert f"Warning: {pictures}: holds files already" in done.stderr
    a, b = (json.loads((tmp_path / bank / "generation-000001.json").read_text()) for bank in "ab")
    assert a["calibration_frames"] == b["calibration_frames"] == 24
    assert a["threshold"] == pytest.approx(b["threshold"], rel=0.01)  # the integers' scale is that of all images
    done = patchline("fit", good, "--out", tmp_path / "c", *FIT, "--keep", "all")
    assert "SET ASIDE" not in done.stderr
    assert json.loads((tmp_path / "c" / "generation-000001.json").read_text())["calibration_frames"] == 26


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--exclude", "1000.png"], "--exclude: 1000.png: no such image in"),
        (["--keep", "[b].png"], "--keep: [b].png: no such image in"),
        (["--keep", "001.png", "--exclude", "001.png"], "001.png: in --exclude and in --keep"),
        (["--keep", "all", "--exclude", "all"], "all: in --exclude and in --keep"),
        (
            [word for n in range(26) for word in ("--exclude", f"{n if n < COUNT else n + 36:03d}.png")],
            "leaves none of 26",
        ),
    ],
)
def test_a_name_that_is_none_is_refused(good: Path, tmp_path: Path, options: list[str], said: str) -> None:
    """Before any image is read; the message names it."""
    done = patchline("fit", good, "--out", tmp_path / "bank", *FIT, *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_pictures_that_cannot_be_written_do_not_fail_the_fit(good: Path, tmp_path: Path) -> None:
    """A file lies where the folder should be."""
    (tmp_path / "taken").write_text("")
    done = patchline("fit", good, "--out", tmp_path / "bank", *FIT, "--overlays", tmp_path / "taken")
    assert done.returncode == 0
    assert f"Warning: {tmp_path / 'taken'}: the oddest images could not be drawn there" in done.stderr
    assert (tmp_path / "bank" / "generation-000001.json").is_file()
