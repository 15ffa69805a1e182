"""The parts of an RTSP URL."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState

_PORTS = {"rtsp": 554, "rtsps": 322}


@dataclass(frozen=True, slots=True)
class RtspAddress:
    """Where a camera is, and who asks. `url` has no login in it: it is what requests name."""

    host: str
    port: int
    url: str = field(repr=False)
    user: str = field(repr=False)
    password: str = field(repr=False)
    is_encrypted: bool

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """The parts of `rtsp://user:password@host:port/path?query`; user and password percent-decoded.

        Raises:
            CameraTroubleError: there is no host in it, or no number for a port.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        scheme = url.partition("://")[0].lower()
        if not host or scheme not in _PORTS:
            raise CameraTroubleError(CameraState.UNREACHABLE, "the address names no host, expected rtsp://host/path")
        login, _, place = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        query = f"?{parts.query}" if parts.query else ""
        bare = f"{scheme}://{place}{parts.path}{query}"
        return cls(host, port or _PORTS[scheme], bare, unquote(user), unquote(password), scheme == "rtsps")
