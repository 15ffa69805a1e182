"""Which files of a folder are learned from, and what is left out: nothing is passed over without a word."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patchline.ops.errors import InputError
from patchline.ops.offline.image_files import find_images
from patchline.ops.offline.mvtec import is_labelled, training_folder
from patchline.stream.cameras.folder import SUFFIXES, image_files, named_as_image
from patchline.stream.support.printable import one_line

DEEPER = "; --recursive takes them too"


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images to learn from: `paths` in order, all below `root`, and a sentence for each kind of file left out."""

    root: Path
    paths: Sequence[Path]
    remarks: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The images' names, by which the bank and every message call them."""
        return [path.relative_to(self.root).as_posix() for path in self.paths]


def choose_images(folder: Path, *, recursive: bool = False) -> ImageFolder:
    """The images of good parts in a folder, or the one image that is given.

    A folder in MVTec's layout gives its `train/good`. Hidden files, other formats, `test` and `ground_truth` of that
    layout, subfolders unless `recursive`, and linked folders are left out, and named.

    Raises:
        InputError: nothing is left, the folder lies in `test` or `ground_truth`, or a name is no UTF-8.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        if is_labelled(place):
            instead = training_folder(place.parent)
            raise InputError(
                f"{folder}: lies in {place.name}/ of MVTec's layout, which is there to judge a bank; expected other "
                f"images of good parts: {f'give {instead}, or ' if instead else ''}copy the images elsewhere"
            )
    if not folder.is_dir():
        return _named(ImageFolder(folder.parent, find_images([folder])))
    remarks = []
    root = training_folder(folder) or folder
    if root != folder:
        remarks.append(f"{folder} is in MVTec's layout: train/good is learned, and nothing else in it")
    left_out = _LeftOut()
    paths = [path for path in image_files(root, recursive=recursive) if not left_out.labelled(root, path)]
    left_out.look(root, recursive)
    remarks += left_out.remarks()
    if not paths:
        found = "".join(f"; {remark}" for remark in remarks)
        raise InputError(f"{root}: no image files{found}; expected {', '.join(SUFFIXES)}")
    return _named(ImageFolder(root, paths, tuple(remarks)))


def _named(chosen: ImageFolder) -> ImageFolder:
    """The same; InputError where a name is no UTF-8: the bank could not keep it."""
    for path, name in zip(chosen.paths, chosen.names, strict=True):
        if not _is_utf8(name):
            raise InputError(f"{one_line(str(path))}: the name is no UTF-8; expected one that is: rename the file")
    return chosen


def left_out(folder: Path, *, recursive: bool = False, deeper: str = DEEPER) -> list[str]:
    """A sentence for each kind of file that is passed over where the images of a folder are judged.

    `deeper` says how to have subfolders looked into, where that can be had.
    """
    found = _LeftOut()
    found.look(folder, recursive)
    return list(found.remarks(deeper))


def without(folder: ImageFolder, exclude: Collection[str], keep: Collection[str]) -> ImageFolder:
    """The images that are not excluded by name; `all`, which is no name, excludes none here.

    Raises:
        InputError: a name is that of no image, or both to exclude and to keep; or no image is left.
    """
    names = folder.names
    if both := sorted(set(exclude) & set(keep)):
        raise InputError(f"{one_line(both[0])}: in --exclude and in --keep; expected it in one of them")
    for option, given in (("--exclude", exclude), ("--keep", keep)):
        if unknown := sorted(set(given) - set(names) - {"all"}):
            raise InputError(
                f"{option}: {one_line(unknown[0])}: no such image in {folder.root}; expected all, or a name such as "
                f"{sample(names)}"
            )
    paths = [path for path, name in zip(folder.paths, names, strict=True) if name not in set(exclude)]
    if not paths:
        raise InputError(f"--exclude: leaves none of {plural(len(names), 'image')}; expected some to learn from")
    return ImageFolder(folder.root, paths, folder.remarks)


@dataclass(slots=True)
class _LeftOut:
    """What is left out of a folder, by kind; names are relative to it."""

    hidden: list[str] = field(default_factory=list)
    formats: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    links: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    in_test_sets: dict[Path, int] = field(default_factory=lambda: defaultdict(int))

    def labelled(self, root: Path, path: Path) -> bool:
        """Whether an image below `root` lies in `test` or `ground_truth`; it is counted then."""
        for place in path.parents:
            if place == root:
                return False
            if is_labelled(place) or (place.name == "test" and (place / "good").is_dir()):
                self.in_test_sets[place.relative_to(root)] += 1
                return True
        return False

    def look(self, root: Path, recursive: bool) -> None:
        """Take down what is no image to learn from."""
        for place, folders, files in os.walk(root):
            inside = Path(place)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = inside / name
                shown = path.relative_to(root).as_posix()
                if name.startswith("."):
                    self.hidden.append(shown)
                elif path.suffix.lower() not in SUFFIXES:
                    self.formats[path.suffix.lower()].append(shown)
            if not recursive:
                self.below = [name for name in folders if _has_images(inside / name)]
                return
            self.links += [
                (inside / name).relative_to(root).as_posix() for name in folders if (inside / name).is_symlink()
            ]
            folders[:] = [name for name in folders if not self._is_test_set(root, inside / name)]

    def _is_test_set(self, root: Path, place: Path) -> bool:
        return place.relative_to(root) in self.in_test_sets

    def remarks(self, deeper: str = DEEPER) -> Iterator[str]:
        """A sentence for each kind."""
        if self.in_test_sets:
            count = sum(self.in_test_sets.values())
            places = sample(place.as_posix() + "/" for place in sorted(self.in_test_sets))
            yield f"{plural(count, 'image')} in {places} not learned: they are there to judge a bank (MVTec's layout)"
        if self.below:
            folders = plural(len(self.below), "subfolder")
            yield f"{folders} with images not looked into: {sample(self.below)}{deeper}"
        if self.links:
            yield f"{plural(len(self.links), 'linked folder')} not looked into: {sample(self.links)}; give its own path"
        if self.hidden:
            yield f"{plural(len(self.hidden), 'hidden file')} left out: {sample(self.hidden)}"
        if self.formats:
            count = sum(map(len, self.formats.values()))
            kinds = "; ".join(
                f"{len(names)} {suffix or 'without a suffix'} ({sample(names)})"
                for suffix, names in sorted(self.formats.items(), key=lambda item: (-len(item[1]), item[0]))
            )
            yield f"{plural(count, 'file')} of other formats left out: {kinds}; what is read: {', '.join(SUFFIXES)}"


def sample(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    shown = [one_line(name) for name in names]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def plural(count: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _is_utf8(name: str) -> bool:
    # What a name holds that is no UTF-8, Python keeps as lone surrogates, which nothing can encode.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _has_images(folder: Path) -> bool:
    return any(named_as_image(path, folder) for path in folder.rglob("*"))
