"""Pictures of the oddest images of a fit."""

from pathlib import Path

from patchline.ops.offline.look_first import look_first_folder


def test_pictures_lie_beside_a_local_bank_or_where_they_were_asked_for() -> None:
    """A bank at a URL has no place beside it."""
    assert look_first_folder("banks/tile/", None) == Path("banks/tile-look-first")
    assert look_first_folder("s3://bucket/tile", None) is None
    assert look_first_folder("s3://bucket/tile", Path("odd")) == Path("odd")
