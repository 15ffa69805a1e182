"""Streams and recordings that FFmpeg's demuxers read: files, HTTP (MJPEG and others), HLS, RTMP and V4L2.

Only the protocols of the scheme itself are opened, whatever an answer or a playlist names: a list of segments in
`file:` or `concat:` reads nothing.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import av
from av.error import EOFError as FFmpegEnd
from av.error import FFmpegError

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.feed import ArrivedPicture, EndOfRecordingError
from patchline.stream.cameras.trouble import CameraTroubleError, ffmpeg_trouble
from patchline.stream.model.camera_state import CameraState
from patchline.stream.support.redaction import redact_url

_PROTOCOLS = {
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "file": "file",
    "v4l2": "file",
}
_NETWORK_FORMATS = (
    "hls,mpjpeg,mjpeg,jpeg_pipe,image2,mpegts,flv,live_flv,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,h264,hevc"
)
_FILE_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,mjpeg,mpjpeg,h264,hevc,av1,ivf,gif,"
    "yuv4mpegpipe,mxf,nut,obu,wtv,dv"
)
_PROBE_BYTES, _PROBE_US = 500_000, 500_000


def scheme_of(url: str) -> str:
    """The scheme of an address in small letters; `file` for a path."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else "file"


class ContainerFeed:
    """Packets of the first video of what FFmpeg opens."""

    codec = ""
    parameter_sets = b""

    def __init__(self, config: CameraConfig, url: str) -> None:
        """Open it.

        Raises:
            CameraTroubleError: it cannot be opened, or has no video.
        """
        self._where = redact_url(url)
        scheme = scheme_of(url)
        options = {"protocol_whitelist": _PROTOCOLS.get(scheme, scheme)}
        kind = None
        if scheme == "v4l2":
            url, kind = url.removeprefix("v4l2://"), "v4l2"
        else:
            options["format_whitelist"] = _FILE_FORMATS if scheme == "file" else _NETWORK_FORMATS
        if scheme in ("https", "rtmps"):
            authorities = config.ca_file or ssl.get_default_verify_paths().cafile
            options |= {"tls_verify": "1", "verify": "1"} | ({"ca_file": str(authorities)} if authorities else {})
        if config.is_live:
            options |= {"probesize": str(_PROBE_BYTES), "analyzeduration": str(_PROBE_US), "fflags": "nobuffer"}
        if scheme in ("http", "https"):
            options |= {"live_start_index": "-1"}
        try:
            self._container = av.open(
                url, format=kind, options=options, timeout=(config.open_timeout_s, config.read_timeout_s)
            )
        except (FFmpegError, ValueError) as error:
            raise self._trouble(error) from None
        if not self._container.streams.video or self._container.streams.video[0].codec_context is None:
            has = bool(self._container.streams.video)
            self._container.close()
            state = CameraState.UNDECODABLE if has else CameraState.NO_VIDEO
            why = "has a codec that is not read here" if has else "has no video stream"
            raise CameraTroubleError(state, f"{self._where} {why}")
        stream = self._container.streams.video[0]
        self.context: Any = stream.codec_context
        self._live = config.is_live
        self._packets = self._container.demux(stream)

    def _trouble(self, error: Exception) -> CameraTroubleError:
        if isinstance(error, FFmpegError):
            return ffmpeg_trouble(error, self._where)
        return CameraTroubleError(CameraState.UNDECODABLE, f"{self._where} sends what is no video that is read here")

    def take(self, until_s: float) -> Iterator[ArrivedPicture] | None:  # noqa: ARG002 - FFmpeg has its own timeout
        """See `Feed`. A stream that is silent for `read_timeout_s` is lost."""
        try:
            packet = next(self._packets, None)
        except FFmpegEnd:
            packet = None
        except (FFmpegError, ValueError) as error:
            raise self._trouble(error) from None
        if packet is None or packet.size == 0:
            if self._live:
                raise CameraTroubleError(CameraState.UNREACHABLE, f"{self._where} ended")
            raise EndOfRecordingError
        whole = not packet.is_corrupt
        picture = ArrivedPicture(packet, packet.is_keyframe, whole, whole, datetime.now(UTC), monotonic())
        return iter((picture,))

    def cut(self) -> None:
        """FFmpeg's read ends by itself, at its timeout."""

    def close(self) -> None:
        """See `Feed`."""
        self._container.close()
