import pytest

from patchline.ops.web.plain_http import is_this_machine, plain_token_warning


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


@pytest.mark.parametrize(
    ("url", "token", "warns"),
    [
        ("http://worker-1:9480", "secret", True),
        ("HTTP://10.0.0.1:9480/", "secret", True),
        ("https://worker-1:9480", "secret", False),
        ("http://127.0.0.1:9480", "secret", False),
        ("http://[::1]:9480", "secret", False),
        ("http://worker-1:9480", None, False),
        ("http://[", "secret", False),
    ],
)
def test_a_token_in_the_clear_is_warned_of(url: str, token: str | None, warns: bool) -> None:
    """Where it leaves this machine, and never with the token in the warning."""
    warning = plain_token_warning(url, token)
    assert (warning is not None) == warns
    assert "secret" not in (warning or "")
