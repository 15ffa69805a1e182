"""Whether a place is on this machine."""

import pytest

from patchline.ops.settings.locations import is_this_machine


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("worker.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),  # noqa: S104 - what others can reach
        ("localhost.example", False),
        ("worker-1", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_this_machine_is_told_from_others(host: str, here: bool) -> None:
    """By name and by address."""
    assert is_this_machine(host) == here
