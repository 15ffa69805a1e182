"""What a frame by reference may point at: names, links, devices, folders, pipes, and other places altogether."""

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos.kinds.target import GOOD_IMAGE, Kind, Send, Target, with_header

_SHA256 = hashlib.sha256(GOOD_IMAGE).hexdigest().encode()
_ELSEWHERE = (
    *(
        "/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/dev/tty",
        "/dev/fd/0",
        "/proc/self/mem",
        "/proc/kmsg",
        "/proc/self/fd",
    ),
    *("file:///etc/passwd", "http://127.0.0.1:9/x", "http://[", "s3://bucket/x", "memory://x", "ftp://x/y"),
    *(
        "zip://x.png::/etc/passwd",
        "simplecache::file:///etc/passwd",
        "github://a:b@/c",
        "unheard-of://x",
        "relative.jpg",
    ),
    *(
        "~/x.jpg",
        "$HOME/x.jpg",
        "\\\\host\\share",
        "C:\\x.jpg",
        "file:",
        "://",
        "",
        "a" * 5000,
        "data:image/png;base64,AA",
    ),
)
"""Nowhere near the folder that frames may lie in."""


def kinds() -> Iterator[Kind]:
    """Those that are made in the folder, and those elsewhere."""
    for name, make in _MADE.items():
        yield Kind(family="references", name=name, send=_made(make))
    for number, text in enumerate(_ELSEWHERE):
        yield Kind(family="references", name=f"{number} elsewhere: {text[:40]}", send=_to(text))
    for name, below in _NAMED.items():
        yield Kind(family="references", name=name, send=_below(below))


def _to(text: str) -> Send:
    async def send(target: Target) -> None:
        headers = [*with_header("ce_sha256", _SHA256), ("ce_dataref", text.encode("utf-8", "surrogateescape"))]
        await target.frame(value=b"", headers=headers)

    return send


def _made(make: Callable[[Path], str]) -> Send:
    async def send(target: Target) -> None:
        await _to(make(target.folder))(target)

    return send


def _below(text: str) -> Send:
    async def send(target: Target) -> None:
        await _to(f"{target.folder}/{text}")(target)

    return send


_NAMED = {
    "a name of 300 characters": "n" * 300,
    "a path of 4,000 characters": "/".join(["d" * 100] * 38),
    "nul in the name": "a\x00b.jpg",
    "not utf-8 in the name": "caf\udce9.jpg",
    "a newline in the name": "a\nb\x1b[2J.jpg",
    "two dots": "../../../etc/passwd",
    "encoded dots": "%2e%2e/%2e%2e/etc/passwd",
    "a pattern": "*.jpg",
    "a folder that is a file": "good.jpg/inside.jpg",
    "a slash at the end": "good.jpg/",
    "nothing there": "none.jpg",
    "a query": "good.jpg?x=1#y",
}


def _loop(folder: Path) -> str:
    _link(folder / "loop-a", folder / "loop-b")
    return _link(folder / "loop-b", folder / "loop-a")


def _chain(folder: Path) -> str:
    last = folder / "good.jpg"
    for number in range(60):
        last = Path(_link(folder / f"chain-{number}", last))
    return str(last)


def _link(name: Path, to: Path) -> str:
    if not name.is_symlink():
        name.symlink_to(to)
    return str(name)


def _pipe(folder: Path) -> str:
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def _socket(folder: Path) -> str:
    path = folder / "socket"
    if not path.exists():
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    return str(path)


def _sparse(folder: Path) -> str:
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(10 * 2**40)
    return str(folder / "sparse.jpg")


def _folder(folder: Path) -> str:
    (folder / "folder.jpg").mkdir(exist_ok=True)
    return str(folder / "folder.jpg")


def _empty(folder: Path) -> str:
    (folder / "empty.jpg").touch()
    return str(folder / "empty.jpg")


def _other(folder: Path) -> str:
    (folder / "other.jpg").write_bytes(GOOD_IMAGE + b"\x00")
    return str(folder / "other.jpg")


_MADE: dict[str, Callable[[Path], str]] = {
    "a link to itself": lambda folder: _link(folder / "self", folder / "self"),
    "two links in a loop": _loop,
    "sixty links": _chain,
    "a link out of the folder": lambda folder: _link(folder / "out", Path("/etc/passwd")),
    "a link to zeros without end": lambda folder: _link(folder / "zeros", Path("/dev/zero")),
    "a link to a terminal": lambda folder: _link(folder / "tty", Path("/dev/tty")),
    "a link to nothing": lambda folder: _link(folder / "dangling", folder / "never"),
    "a pipe that nobody writes to": _pipe,
    "a socket": _socket,
    "a folder": _folder,
    "ten tebibytes of nothing": _sparse,
    "an empty file": _empty,
    "another image": _other,
    "the image itself": lambda folder: str(folder / "good.jpg"),
}
