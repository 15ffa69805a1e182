"""`patchline fit`: what it says of the images and what it refuses, before the backbone is loaded; and its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner, Result

from patchline.engine.errors import CalibrationError
from patchline.engine.fitting import fit as fitting
from patchline.engine.fitting.scratch import ImageSpool
from patchline.ops.cli import app
from tests.ops.conftest import FIT, texture, write_images

Fitted = list[list[str]]
"""The names of the images that each call of the engine's fit was given."""


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["fit", *(str(a) for a in arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """12 good images in MVTec's layout, one of them a second time, mirrored; a hidden file, and a WebP."""
    good = tmp_path / "ds" / "train" / "good"
    write_images(good, range(12), spot=False)
    PillowImage.fromarray(np.ascontiguousarray(texture(3)[:, ::-1])).save(good / "mirrored.png")
    PillowImage.fromarray(texture(20)).save(good / "a.webp")
    (good / "._000.png").write_bytes(b"\0\5\26\7")
    write_images(tmp_path / "ds" / "test" / "good", range(30, 32), spot=False)
    write_images(tmp_path / "ds" / "test" / "spot", range(40, 42), spot=True)
    return tmp_path / "ds"


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fitted:
    """The engine's fit, stopped at its first line: what comes after it has loaded no backbone."""
    given: Fitted = []

    def stop(images: ImageSpool, *_: Any, **__: Any) -> None:
        given.append([name for name, _ in images])
        raise CalibrationError("the engine's fit has begun")

    monkeypatch.setattr(fitting, "fit", stop)
    return given


def test_a_fit_says_what_it_took_and_what_it_left_out(data_set: Path, tmp_path: Path) -> None:
    """The report counts images and groups; notes go to standard error; a name in brackets is shown as it is."""
    out = tmp_path / "[red]bank"
    done = fit(data_set, "--out", out, "--name", "[/x]", *FIT, "--false-reject-rate", 0.2, "--coreset", 0.2)
    assert done.exit_code == 0, done.output
    layout, hidden, formats, copies = done.stderr.splitlines()
    assert layout == f"note: {data_set} is in MVTec's layout: train/good is learned, and nothing else in it"
    assert hidden == "note: 1 hidden file left out: ._000.png"
    assert formats.startswith("note: 1 file of other formats left out: 1 .webp (a.webp); what is read: .jpg")
    assert copies == ("note: 13 images in 12 groups, held out or learned together: 003.png with mirrored.png")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["recipe"].strip() == "[/x]"
    assert lines["images"].strip() == "13 images in 12 groups"
    assert str(out) in done.stdout.replace("\n", "")
    assert "(look " in lines["time"]
    names = {frame["name"] for frame in json.loads((out / "generation-000001.json").read_text())["frames"]}
    assert names <= {*(f"{seed:03d}.png" for seed in range(12)), "mirrored.png"}


def test_notes_come_before_the_fit_begins(data_set: Path, tmp_path: Path, fits: Fitted) -> None:
    """Whatever the fit then says; it is given train/good alone, also where subfolders are asked for."""
    for options in ([], ["--recursive"]):
        done = fit(data_set, "--out", tmp_path / "bank", *FIT, *options)
        assert (done.exit_code, done.stdout) == (2, "")
        *notes, last = done.stderr.splitlines()
        assert [note[:6] for note in notes] == ["note: "] * 4
        assert last == "error: the engine's fit has begun"
    assert fits == [[*(f"{seed:03d}.png" for seed in range(12)), "mirrored.png"]] * 2


def test_names_add_groups(data_set: Path, tmp_path: Path, fits: Fitted) -> None:
    """--group puts together what a regular expression finds; one that is none is refused before images are read."""
    done = fit(data_set / "train" / "good", "--out", tmp_path / "bank", *FIT, "--group", r"^(\d\d)")
    assert "note: --group finds nothing in 1 of 13 names, so that each of these stands for itself: mirrored.png" in (
        done.stderr
    )
    assert "note: 13 images in 2 groups" in done.stderr
    done = fit(data_set, "--out", tmp_path / "bank", *FIT, "--group", "(")
    assert (done.exit_code, done.stderr.count("error: --group: '(': missing ), unterminated subpattern")) == (2, 1)
    assert len(fits) == 1


def cut(folder: Path) -> None:
    path = folder / "005.png"
    path.write_bytes(path.read_bytes()[:300])


def twelve_bits(folder: Path) -> None:
    for path in folder.glob("[!.]*.png"):
        with PillowImage.open(path) as image:
            pixels = np.asarray(image.convert("L"), dtype=np.uint16)
        PillowImage.fromarray(pixels * 16).save(path)


def other_formats(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            cut,
            (
                "005.png: the PNG ends after 300 bytes",
                "1 of 13 images cannot be read; expected whole images: save them",
            ),
        ),
        (twelve_bits, ("000.png and 12 more: 16 bits a sample, of which at most 12 are used", "multiply them by 16")),
        (other_formats, ("train/good: no image files; ", "1 .webp (a.webp)", "expected .jpg")),
    ],
)
def test_what_cannot_be_learned_is_refused_before_the_fit(
    data_set: Path, tmp_path: Path, fits: Fitted, spoil: Callable[[Path], None], said: tuple[str, ...]
) -> None:
    """One message that names the file, what was found, what was expected and what to do; exit status 2."""
    spoil(data_set / "train" / "good")
    done = fit(data_set, "--out", tmp_path / "bank", *FIT)
    assert (done.exit_code, done.stdout, fits) == (2, "", [])
    for words in said:
        assert words in done.stderr
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        ("test", ["--recursive"], "test: lies in test/ of MVTec's layout"),
        ("test/spot", [], "test/spot: lies in test/ of MVTec's layout"),
        ("train/good", ["--calibration", "test/good"], "test/good: lies in test/ of MVTec's layout"),
        ("train/good", ["--calibration", "train/good"], "--calibration: 13 of 13 images are also in the fit: "),
    ],
)
def test_a_test_set_and_images_of_the_fit_are_refused(
    data_set: Path,
    tmp_path: Path,
    fits: Fitted,
    monkeypatch: pytest.MonkeyPatch,
    images: str,
    options: list[str],
    said: str,
) -> None:
    """A test set judges a bank, and a threshold that rests on what the bank has learned is too low."""
    monkeypatch.chdir(data_set)
    done = fit(images, "--out", tmp_path / "bank", *FIT, *options)
    assert (done.exit_code, done.stdout, fits) == (2, "", [])
    assert f"error: {said}" in done.stderr
