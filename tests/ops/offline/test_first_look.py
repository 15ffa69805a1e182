"""A first look reads every image once: what it keeps, what it finds, what it refuses, and what it leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from patchline.engine.features.preprocess import prepare
from patchline.engine.types import Image
from patchline.ops.errors import InputError
from patchline.ops.offline.first_look import MOST_NAMED, FirstLook, first_look
from patchline.ops.offline.image_files import load_image
from patchline.ops.offline.image_folder import choose_images
from tests.ops.conftest import texture

SIZE_PX = (40, 32)


def save(folder: Path, name: str, image: Image) -> Path:
    """Write an image by its suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), image)
    return folder


def textures(folder: Path, seeds: range) -> Path:
    """One PNG a seed."""
    for seed in seeds:
        save(folder, f"{seed:03d}.png", texture(seed))
    return folder


def look_at(folder: Path, calibration: Path | None = None, pattern: str | None = None) -> FirstLook:
    """A first look whose files are gone."""
    held_out = choose_images(calibration) if calibration else None
    with first_look(choose_images(folder), held_out, SIZE_PX, pattern=pattern) as look:
        return look


def test_images_wait_as_the_fit_would_prepare_them(tmp_path: Path) -> None:
    """In order, under their names, bit for bit; progress goes over both folders, and no file is left behind."""
    good, held_out = textures(tmp_path / "good", range(9)), textures(tmp_path / "next", range(20, 23))
    (held_out / "notes.txt").touch()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    heard: list[tuple[str, int, int]] = []
    with first_look(
        choose_images(good),
        choose_images(held_out),
        SIZE_PX,
        scratch=scratch,
        report=lambda stage, done, total: heard.append((stage, done, total)),
    ) as look:
        assert look.calibration is not None
        for spool, folder in ((look.images, good), (look.calibration, held_out)):
            paths = sorted(folder.glob("*.png"))
            assert [name for name, _ in spool] == [path.name for path in paths]
            for (_, image), path in zip(spool, paths, strict=True):
                assert np.array_equal(image, prepare(load_image(path), SIZE_PX))
        assert look.groups == list(range(9))
        (told,) = look.remarks
        assert told.startswith("--calibration: 1 file of other formats left out: 1 .txt (notes.txt)")
        assert look.seconds > 0
    assert heard == [("look", done, 12) for done in range(1, 13)]
    assert list(scratch.iterdir()) == []


def test_copies_share_a_group_and_are_told(tmp_path: Path) -> None:
    """Saved again, mirrored, turned, or the same file twice; names may add what pixels do not show."""
    good = textures(tmp_path / "good", range(3))
    save(good, "000-again.jpg", texture(0))
    save(good, "001-mirrored.png", np.ascontiguousarray(texture(1)[:, ::-1]))
    save(good, "002-turned.png", np.ascontiguousarray(np.rot90(texture(2))))
    shutil.copy(good / "002.png", good / "copy.png")
    look = look_at(good)
    assert look.groups == [0, 0, 1, 1, 2, 2, 2]
    sizes, copies = look.remarks
    assert sizes.startswith("2 sizes of images (H x W): 6 of 96 x 80, others 80 x 96 (002-turned.png)")
    assert copies.startswith("7 images in 3 groups, held out or learned together: 002-turned.png with 002.png, copy")
    by_names = look_at(good, pattern="^00[01]()")
    assert by_names.groups == [0, 0, 0, 0, 1, 1, 1]
    assert by_names.remarks[1].startswith("--group finds nothing in 3 of 7 names")


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    """Each with its reason, up to a number, then how many there are and what to do."""
    good = textures(tmp_path / "good", range(3))
    whole = (good / "001.png").read_bytes()
    (good / "001.png").write_bytes(whole[: len(whole) // 2])
    (good / "notes.png").write_text("no image")
    with pytest.raises(InputError) as caught:
        look_at(good)
    cut, none, told = str(caught.value).splitlines()
    assert cut.startswith(f"{good / '001.png'}: the PNG ends after")
    assert none.startswith(f"{good / 'notes.png'}: the frame begins with")
    assert told == (
        "2 of 4 images cannot be read; expected whole images: save them anew, or take them out of the folder"
    )
    for number in range(MOST_NAMED + 5):
        (good / f"x{number:02d}.png").touch()
    with pytest.raises(InputError, match="and 7 more files that cannot be read\n17 of 19 images cannot be read"):
        look_at(good)


def test_twelve_bits_in_sixteen_are_refused(tmp_path: Path) -> None:
    """As cameras save them, grey or in colour, as PNG or TIFF; aligned to the left they are read."""
    grey, other = (texture(seed)[:, :, 0].astype(np.uint16) for seed in (0, 1))
    makers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "grey": lambda g: g,
        "colour": lambda g: np.dstack([g] * 3),
    }
    for kind, make in makers.items():
        for suffix in (".png", ".tif"):
            folder = save(tmp_path / f"{kind}{suffix}", f"a{suffix}", make(grey * 16))
            save(folder, f"b{suffix}", make(other * 16))
            with pytest.raises(InputError, match=r"a\.\w+ and 1 more: 16 bits a sample, of which at most 12 are used"):
                look_at(folder)
            save(folder, f"a{suffix}", make(grey * 256))
            save(folder, f"b{suffix}", make(other * 256))
            assert look_at(folder).remarks == []


def test_blank_frames_are_told(tmp_path: Path) -> None:
    """A dark frame with a little noise among good images; where all are of one grey there is nothing to learn."""
    good = textures(tmp_path / "good", range(2))
    save(good, "dark.png", np.random.default_rng(0).integers(0, 3, (96, 80), dtype=np.uint8))
    (told,) = look_at(good).remarks
    assert told.startswith("1 of 3 images blank: dark.png (grey 1)")
    for number in range(3):
        save(tmp_path / "blank", f"{number}.png", np.full((96, 80), 7, dtype=np.uint8))
    with pytest.raises(InputError, match="every pixel has the same grey, 7"):
        look_at(tmp_path / "blank")


def test_calibration_on_copies_of_the_fits_images_is_refused(tmp_path: Path) -> None:
    """The same pixels under another name, and in another format."""
    good, held_out = textures(tmp_path / "good", range(3)), textures(tmp_path / "next", range(10, 12))
    save(held_out, "also.bmp", texture(2))
    with pytest.raises(
        InputError, match=r"1 of 3 images are also in the fit: .*also\.bmp shows the same picture as .*002\.png"
    ):
        look_at(good, held_out)


def test_a_full_disk_is_found_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the folder, what is needed, what is free, and the option that mends it."""
    good = textures(tmp_path / "good", range(2))
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * 40 * 32 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"2 images of 40 x 32 pixels need 7.68e-06 GB there, .* --scratch"):
        look_at(good)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * 40 * 32 * 3))
    assert look_at(good).groups == [0, 1]
