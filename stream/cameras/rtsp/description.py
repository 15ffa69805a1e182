"""What a camera says of its video: the session description (SDP, RFC 8866) that answers DESCRIBE."""

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState

VideoCodec: TypeAlias = Literal["h264", "hevc", "mjpeg"]
_CODECS: dict[str, VideoCodec] = {"H264": "h264", "H265": "hevc", "HEVC": "hevc", "JPEG": "mjpeg"}
_STATIC_JPEG = 26
_PARAMETER_START = b"\0\0\0\1"


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """One video of a session."""

    codec: VideoCodec
    payload_type: int
    control: str
    """The URL that SETUP names."""
    clock_hz: int = 90_000
    parameter_sets: bytes = b""
    """What a decoder must know beforehand, in Annex B; empty where it comes with the pictures."""


@dataclass(slots=True)
class _Medium:
    kind: str
    payload_types: list[str]
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def of(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def video_track(text: str, base: str) -> VideoTrack:
    """The first video of a description that can be read here.

    Args:
        text: the SDP.
        base: the URL that relative ones in it begin with.

    Raises:
        CameraTroubleError: there is no video, or only of codecs that are not read.
    """
    videos = [medium for medium in _media(text) if medium.kind == "video"]
    if not videos:
        raise CameraTroubleError(CameraState.NO_VIDEO, "the stream has no video")
    named = []
    for medium in videos:
        for kind in medium.payload_types:
            if not (kind.isascii() and kind.isdigit()):
                continue
            codec, clock = _encoding(medium, kind)
            named.append(codec)
            if codec in _CODECS:
                control = _joined_url(base, (medium.of("control") or [""])[0])
                return VideoTrack(_CODECS[codec], int(kind), control, clock, _parameter_sets(medium, kind))
    what = ", ".join(sorted({"".join(c for c in name if c.isalnum() or c in "-_")[:20] for name in named})) or "unnamed"
    raise CameraTroubleError(
        CameraState.UNDECODABLE, f"the camera's codec ({what}) is not read over RTSP, expected H.264, H.265 or JPEG"
    )


def _media(text: str) -> list[_Medium]:
    media: list[_Medium] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition("=")
        if key == "m" and len(words := value.split()) >= 4:
            media.append(_Medium(words[0].lower(), words[3:]))
        elif key == "a" and media:
            name, _, rest = value.partition(":")
            media[-1].attributes.append((name.strip().lower(), rest.strip()))
    return media


def _encoding(medium: _Medium, payload_type: str) -> tuple[str, int]:
    for value in medium.of("rtpmap"):
        kind, _, encoding = value.partition(" ")
        if kind == payload_type:
            name, _, clock = encoding.strip().partition("/")
            hz = clock.partition("/")[0]
            return name.upper(), int(hz) if hz.isascii() and hz.isdigit() and int(hz) else 90_000
    return ("JPEG" if payload_type == str(_STATIC_JPEG) else payload_type), 90_000


def _parameter_sets(medium: _Medium, payload_type: str) -> bytes:
    found = b""
    for value in medium.of("fmtp"):
        kind, _, parameters = value.partition(" ")
        if kind != payload_type:
            continue
        given = {
            name.strip().lower(): text.strip()
            for name, _, text in (each.partition("=") for each in parameters.split(";"))
        }
        for name in ("sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets"):
            for each in filter(None, given.get(name, "").split(",")):
                try:
                    found += _PARAMETER_START + b64decode(each)
                except binascii.Error:  # it may come with the pictures
                    return b""
    return found


def _joined_url(base: str, control: str) -> str:
    if control in ("", "*"):
        return base
    if "://" in control:
        return control
    return base + control if base.endswith("/") else f"{base}/{control}"
