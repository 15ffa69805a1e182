"""Whether a token would go over the network in the clear."""

from urllib.parse import urlsplit

from patchline.ops.settings.locations import is_this_machine


def plain_token_warning(url: str, token: str | None) -> str | None:
    """What to warn of before a token is sent to `url`; None where nobody on the way can read it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None  # whoever sends it says what is wrong with the URL
    if token is None or parts.scheme != "http" or is_this_machine(host):
        return None
    return f"the token goes to {host} over plain HTTP, where others on the way can read it; expected https://"
