import pytest

from patchline.ops.web.plain_http import plain_token_warning


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
