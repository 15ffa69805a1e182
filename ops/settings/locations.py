"""Where things lie: banks in folders or at fsspec URLs such as `s3://bucket/bottle`, a port here or elsewhere."""

import ipaddress
from pathlib import Path


class PathOrUrl:
    """Marks a setting that is a folder or a URL: relative folders start at the settings file, URLs stay as they are."""


def is_url(place: str) -> bool:
    """Whether a place is a URL rather than a path on this machine."""
    return "://" in place


def last_name(place: str) -> str:
    """The last part of a place: `bottle` of `banks/bottle` and of `s3://bucket/bottle`."""
    return place.rstrip("/").rsplit("/", 1)[-1] if is_url(place) else Path(place).resolve().name


def is_this_machine(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
