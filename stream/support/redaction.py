"""URLs without their secrets, for messages."""

import re

_USER_INFO = re.compile(r"(://)[^\s\"'<>]*@")


def redact_url(url: str) -> str:
    """`rtsp://admin:1234@camera/1?key=x` as `rtsp://***@camera/1?***`."""
    address, mark, _ = _USER_INFO.sub(r"\1***@", url).partition("?")
    return f"{address}?***" if mark else address
