"""What of a folder is learned from: nothing is passed over without a word, and no test set is ever learned."""

import os
from pathlib import Path

import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline.image_folder import choose_images, sample


def make(root: Path, *names: str) -> Path:
    """Empty files, with their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A folder of images has nothing that is worth a word."""
    chosen = choose_images(make(tmp_path, "b.png", "a.JPG", "c.tif"))
    assert (chosen.root, chosen.names, list(chosen.remarks)) == (tmp_path, ["a.JPG", "b.png", "c.tif"], [])
    one = choose_images(tmp_path / "b.png")
    assert (one.names, list(one.remarks)) == (["b.png"], [])


def test_what_is_left_out_is_named_and_counted(tmp_path: Path) -> None:
    """Hidden files, formats that are not read, and subfolders with images; empty subfolders are nobody's."""
    make(tmp_path, "a.png", "._a.png", ".DS_Store", "1.webp", "2.webp", "3.GIF", "notes", "lot/b.png", "docs/x.txt")
    chosen = choose_images(tmp_path)
    assert chosen.names == ["a.png"]
    subfolders, hidden, formats = chosen.remarks
    assert subfolders == "1 subfolder with images not looked into: lot; --recursive takes them too"
    assert hidden == "2 hidden files left out: .DS_Store, ._a.png"
    assert formats.startswith(
        "4 files of other formats left out: 2 .webp (1.webp, 2.webp); 1 without a suffix (notes); 1 .gif (3.GIF); what"
    )


def test_subfolders_are_looked_into_where_that_is_asked_for(tmp_path: Path) -> None:
    """What is left out there is named too; links to folders are not followed, and said."""
    make(tmp_path / "in", "a.png", "lot/b.png", "lot/._b.png", "lot/c.heic", ".cache/d.png")
    make(tmp_path / "else", "e.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "else")
    chosen = choose_images(tmp_path / "in", recursive=True)
    assert chosen.names == ["a.png", "lot/b.png"]
    links, hidden, formats = chosen.remarks
    assert links == "1 linked folder not looked into: linked; give its own path"
    assert hidden == "1 hidden file left out: lot/._b.png"
    assert formats.startswith("1 file of other formats left out: 1 .heic (lot/c.heic); what is read: .jpg")


MVTEC = ("train/good/0.png", "test/good/1.png", "test/hole/2.png", "ground_truth/hole/2_mask.png", "x.png")


@pytest.mark.parametrize("recursive", [False, True])
def test_of_mvtecs_layout_train_good_is_learned_alone(tmp_path: Path, recursive: bool) -> None:
    """The names are those that train/good itself would give, so that the bank is the same."""
    chosen = choose_images(make(tmp_path / "ds", *MVTEC), recursive=recursive)
    assert (chosen.root, chosen.names) == (tmp_path / "ds" / "train" / "good", ["0.png"])
    assert list(chosen.remarks) == [
        f"{tmp_path / 'ds'} is in MVTec's layout: train/good is learned, and nothing else in it"
    ]


def test_a_folder_of_data_sets_gives_what_is_to_learn(tmp_path: Path) -> None:
    """`test` and `ground_truth` of each are left out and counted; another `test` is a folder like all."""
    for product in ("bottle", "cable"):
        make(tmp_path / product, *MVTEC[:-1])
    make(tmp_path, "plain/test/z.png")
    chosen = choose_images(tmp_path, recursive=True)
    assert chosen.names == ["bottle/train/good/0.png", "cable/train/good/0.png", "plain/test/z.png"]
    assert list(chosen.remarks) == [
        "6 images in bottle/ground_truth/, bottle/test/, cable/ground_truth/ and 1 more not learned: they are there to "
        "judge a bank (MVTec's layout)"
    ]


@pytest.mark.parametrize("inside", ["test", "test/hole", "test/good", "ground_truth/hole", "test/hole/2.png"])
def test_a_test_set_is_never_learned(tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is named: by its path, from inside, or through a link. The message says what to give instead."""
    place = make(tmp_path / "ds", *MVTEC) / inside
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(place if place.is_dir() else place.parent)
    for given in (place, Path("." if place.is_dir() else place.name), tmp_path / "link"):
        with pytest.raises(
            InputError, match=r"of MVTec's layout, .*; expected other images of good parts: give "
        ) as caught:
            choose_images(given, recursive=True)
        assert str(tmp_path / "ds" / "train" / "good") in str(caught.value)


def test_a_folder_that_is_merely_called_test_is_learned(tmp_path: Path) -> None:
    """Nothing lies beside it that makes it the test set of anything."""
    assert choose_images(make(tmp_path, "test/good/a.png") / "test" / "good").names == ["a.png"]


def test_a_folder_without_images_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    """What was found instead is named, and what is read."""
    make(tmp_path, "1.webp", "2.webp", "lot/a.png")
    with pytest.raises(
        InputError, match=r"no image files; 1 subfolder with images .*--recursive.*2 \.webp.*expected \.jpg"
    ):
        choose_images(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        choose_images(tmp_path / "missing")


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """The bank could not keep it; the message shows it escaped."""
    (tmp_path / os.fsdecode(b"m\xfcller.png")).touch()
    with pytest.raises(
        InputError, match=r"m\\udcfcller\.png: the name is no UTF-8; expected one that is: rename"
    ) as caught:
        choose_images(tmp_path)
    str(caught.value).encode()


def test_names_are_shown_few_and_printable() -> None:
    """Three of many, with the number of the others; control characters are escaped."""
    assert sample(["a", "b", "c"]) == "a, b, c"
    assert sample(str(n) for n in range(1_203)) == "0, 1, 2 and 1,200 more"
    assert sample(["a\x1b[31m\nü"]) == "a\\u001b[31m\\nü"
