import pytest

from patchline.stream.model.errors import ConfigError
from patchline.stream.model.limits import Limits, RecipeConfig


def test_what_the_stream_holds_unless_told() -> None:
    """The defaults that the settings document."""
    limits = Limits()
    assert (limits.max_frame_bytes, limits.max_referenced_bytes) == (32 * 2**20, 256 * 2**20)
    assert (limits.max_in_flight, limits.max_in_flight_bytes) == (64, 512 * 2**20)
    assert (limits.batch_size, limits.linger_s, limits.commit_interval_s) == (8, 0.02, 0.1)
    assert (limits.max_pixels, limits.decode_threads, limits.max_wait_s) == (64_000_000, 2, None)
    assert limits.frame_references == ()
    assert limits.decode_s == 0.1


@pytest.mark.parametrize(
    "name",
    [
        *("max_frame_bytes", "max_pixels", "batch_size", "max_in_flight", "max_in_flight_bytes"),
        *("decode_threads", "max_referenced_bytes"),
    ],
)
def test_counts_and_sizes_are_at_least_one(name: str) -> None:
    """1 is taken, 0 is refused by name."""
    Limits(**({"batch_size": 1} | {name: 1}))  # type: ignore[arg-type] # the names are checked by the call
    with pytest.raises(ConfigError, match=rf"^Limits\.{name} is 0, expected at least 1$"):
        Limits(**{name: 0})  # type: ignore[arg-type] # the name is checked by the call


@pytest.mark.parametrize("name", ["linger_s", "commit_interval_s"])
def test_pauses_may_be_nothing_and_not_negative(name: str) -> None:
    """0 s is a pause; less is refused by name."""
    assert getattr(Limits(**{name: 0.0}), name) == 0  # type: ignore[arg-type] # the names are checked by the call
    with pytest.raises(ConfigError, match=rf"^Limits\.{name} is -0\.1, expected at least 0$"):
        Limits(**{name: -0.1})  # type: ignore[arg-type] # as above


def test_a_frame_waits_for_some_time_or_is_read_at_once() -> None:
    """`max_wait_s` is None or more than 0."""
    assert Limits(max_wait_s=0.1).max_wait_s == 0.1
    with pytest.raises(ConfigError, match=r"^Limits\.max_wait_s is 0, expected more than 0$"):
        Limits(max_wait_s=0)


def test_decoding_takes_some_time() -> None:
    """More than none."""
    with pytest.raises(ConfigError, match=r"^Limits\.decode_s is 0, expected more than 0$"):
        Limits(decode_s=0)


def test_a_batch_fits_into_what_may_be_in_flight() -> None:
    """As many frames as a batch has suffice; with one less no batch could ever fill."""
    assert Limits(batch_size=4, max_in_flight=4).max_in_flight == 4
    with pytest.raises(ConfigError, match=r"^Limits\.max_in_flight is 3, expected at least batch_size \(4\)"):
        Limits(batch_size=4, max_in_flight=3)


def test_references_lie_below_a_folder_that_is_named() -> None:
    """An absolute path or a URI with a place behind its scheme; the whole of a file system is refused."""
    good = ("/data/frames", "s3://bucket/frames", "s3://bucket")
    assert Limits(frame_references=good).frame_references == good
    for prefix in ("/", "frames", "s3://", "file:///", ""):
        with pytest.raises(ConfigError, match="frame_references has"):
            Limits(frame_references=("/data", prefix))


def test_a_recipe_has_a_deadline_or_none() -> None:
    """None is never late; a deadline is more than 0 s."""
    assert RecipeConfig(name="plate").deadline_s is None
    assert RecipeConfig(name="plate", deadline_s=0.1).deadline_s == 0.1
    with pytest.raises(ConfigError, match=r"^RecipeConfig\.deadline_s is 0, expected more than 0$"):
        RecipeConfig(name="plate", deadline_s=0)
