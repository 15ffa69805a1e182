"""What a first look tells, and what it refuses, from what it has seen."""

from pathlib import Path

import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline.findings import (
    SeenImage,
    count_groups,
    refuse_fitted_calibration,
    refuse_unusable,
    tell_copies,
    tell_images,
    tell_ungrouped,
)


def seen(
    name: str = "a.png",
    *,
    size_px: tuple[int, int] = (100, 80),
    bits: int = 8,
    brightest: int = 200,
    mean_grey: float = 90,
    contrast: float = 30,
) -> SeenImage:
    """An image with nothing odd but what is given."""
    return SeenImage(Path(name), size_px, bits, brightest, mean_grey, contrast)


def test_plain_images_are_worth_no_word() -> None:
    """Of one size, of 8 bits or a full 16, with contrast."""
    for images in ([seen(), seen("b.png")], [seen(bits=16, brightest=64), seen(bits=16)]):
        refuse_unusable(images)
        assert list(tell_images(images, (224, 224))) == []
    refuse_unusable([])


def test_mixed_sizes_are_named() -> None:
    """The most frequent with its count, the others each with its first image, and what they become."""
    images = [seen(), seen("b.png"), seen("c.png", size_px=(50, 80)), seen("d.png", size_px=(50, 80)), seen("e.png")]
    (told,) = tell_images([*images, seen("f.png", size_px=(200, 100))], (224, 192))
    assert told == (
        "3 sizes of images (H x W): 3 of 100 x 80, others 50 x 80 (c.png), 200 x 100 (f.png); each is brought to "
        "224 x 192, so that the same part may come out larger, or stretched"
    )


@pytest.mark.parametrize(
    ("brightest", "used", "levels", "factor"),
    [(15, 12, "16 grey levels", 16), (3, 10, "4 grey levels", 64), (0, 8, "1 grey level", 256)],
)
def test_sixteen_bits_of_which_twelve_are_used_are_refused(brightest: int, used: int, levels: str, factor: int) -> None:
    """The brightest image of all decides; the message names a file, what would be left, and what mends it."""
    images = [seen("a.png", bits=16, brightest=0), seen("b.png", bits=16, brightest=brightest), seen("c.png")]
    with pytest.raises(InputError) as caught:
        refuse_unusable(images)
    assert str(caught.value) == (
        f"a.png and 1 more: 16 bits a sample, of which at most {used} are used: as the upper 8 bits are kept, {levels} "
        f"of 256 would be left; expected values that fill the 16 bits: multiply them by {factor}, or save them with 8 "
        "bits, and let the camera do the same"
    )
    refuse_unusable([*images, seen("d.png", bits=16, brightest=16)])


def test_dark_and_mixed_sixteen_bits_are_told() -> None:
    """Up to 64 grey levels are few; images of 8 bits among them may come from another camera."""
    few = [seen(bits=16, brightest=63), seen("b.png", bits=16, brightest=20)]
    assert list(tell_images(few, (224, 224))) == [
        "2 images of 16 bits a sample, but dark: 64 grey levels of 256 are left, as the upper 8 bits are kept; values "
        "that fill the 16 bits would leave all"
    ]
    assert list(tell_images([seen(bits=16), seen("b.png")], (224, 224))) == [
        "1 of 2 images of 16 bits a sample, the others of 8: is it one camera?"
    ]


def test_blank_frames_are_named_with_their_grey() -> None:
    """Below two grey levels of contrast there is nothing to see; all of one grey is refused."""
    images = [seen("dark.png", mean_grey=0.4, contrast=1.9), seen("b.png", contrast=2.0)]
    refuse_unusable(images)
    assert list(tell_images(images, (224, 224))) == [
        "1 of 2 images blank: dark.png (grey 0); the bank would take a covered lens for a good part: take them out, "
        "unless good parts look so"
    ]
    with pytest.raises(InputError, match=r"a\.png and 1 more: every pixel has the same grey, 90; expected pictures"):
        refuse_unusable([seen(contrast=0), seen("b.png", contrast=0)])


def test_copies_are_counted_and_the_largest_groups_named() -> None:
    """The number of groups, and of each of three the first image with the others."""
    groups = [0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 4, 4]
    assert list(tell_copies([f"{n}.png" for n in range(12)], groups)) == [
        "12 images in 5 groups, held out or learned together: 2.png with 3.png, 4.png, 5.png and 1 more; "
        "0.png with 1.png; 8.png with 9.png; and 1 more group"
    ]
    assert list(tell_copies(["a", "b"], [0, 1])) == []
    assert [count_groups(numbers) for numbers in ([0, 0, 1], [0])] == ["3 images in 2 groups", "1 image in 1 group"]


def test_names_without_a_group_are_told() -> None:
    """Some of them, and how many."""
    assert list(tell_ungrouped([], 4)) == []
    assert list(tell_ungrouped(["a", "b"], 4)) == [
        "--group finds nothing in 2 of 4 names, so that each of these stands for itself: a, b"
    ]


def test_calibration_on_images_of_the_fit_is_refused() -> None:
    """Copies are named beside the image that they copy; copies within one of the two folders are not."""
    fitted, held_out = [seen("f/a.png"), seen("f/b.png"), seen("f/c.png")], [seen("h/x.png"), seen("h/y.png")]
    refuse_fitted_calibration(fitted, held_out, [0, 1, 1, 2, 2])
    refuse_fitted_calibration(fitted, [], [0, 1, 1])
    with pytest.raises(
        InputError,
        match=r"--calibration: 1 of 2 images are also in the fit: h/y\.png shows the same picture as f/b\.png;",
    ):
        refuse_fitted_calibration(fitted, held_out, [0, 1, 1, 2, 1])
