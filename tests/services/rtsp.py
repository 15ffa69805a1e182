"""A real RTSP server (GStreamer) that streams a video file or a folder of images as H.264 or MJPEG."""

import subprocess
from pathlib import Path
from typing import Literal

from tests.services.process import Server, ServiceUnavailableError, free_port, listens

_SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad,ugly}"
Codec = Literal["h264", "mjpeg"]


class RtspServer(Server):
    """One server with one stream. `stop` and `start_again`: the same address, as a camera that lost its power."""

    def __init__(self) -> None:
        super().__init__("rtsp")
        self.port = free_port()
        self._command: list[str] = []

    def serve(
        self,
        media: Path,
        *,
        codec: Codec = "h264",
        frames_per_s: int = 10,
        size_px: tuple[int, int] = (224, 224),
        loop: bool = False,
        credentials: tuple[str, str] | None = None,
    ) -> str:
        """Serve `media` and return its rtsp:// address.

        A video file (H.264 in MP4) is served as it is. A folder of JPEG or PNG images is encoded at `frames_per_s`
        and `size_px` (H, W) in the order of their names. With `credentials` (user, password) the server asks for
        them; the address returned holds them.
        """
        probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
        if subprocess.run([_SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode != 0:
            raise ServiceUnavailableError(f"no GStreamer RTSP server for {_SYSTEM_PYTHON}: install {_PACKAGES}")
        pipeline = self._video(media) if media.is_file() else self._images(media, codec, frames_per_s, size_px, loop)
        login = ":".join(credentials) if credentials else "-"
        self._command = [_SYSTEM_PYTHON, str(_SCRIPT), str(self.port), login, f"/camera={pipeline}"]
        self.start_again()
        return f"rtsp://{login + '@' if credentials else ''}127.0.0.1:{self.port}/camera"

    def start_again(self) -> None:
        """Start the server with what it served last."""
        self.start(self._command, lambda: listens(self.port), timeout_s=20)

    def _video(self, path: Path) -> str:
        return f'filesrc location="{path.resolve()}" ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1'

    def _images(self, folder: Path, codec: Codec, frames_per_s: int, size_px: tuple[int, int], loop: bool) -> str:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files or len({p.suffix.lower() for p in files}) != 1:
            raise ValueError(f"{folder}: expected images of one type, found {len(files)} of several types")
        links = self.directory / "images"
        links.mkdir(exist_ok=True)
        for number, path in enumerate(files):
            (links / f"{number:06d}").symlink_to(path.resolve())
        jpeg = files[0].suffix.lower() != ".png"
        caps = f"image/{'jpeg' if jpeg else 'png'},framerate={frames_per_s}/1"
        height, width = size_px
        encode = {
            "h264": "video/x-raw,format=I420 ! x264enc tune=zerolatency key-int-max=10 quantizer=16 pass=quant"
            " ! rtph264pay name=pay0 config-interval=1",
            "mjpeg": "video/x-raw,format=I420 ! jpegenc quality=95 ! rtpjpegpay name=pay0",
        }[codec]
        return (
            f'multifilesrc location="{links}/%06d" stop-index={len(files) - 1} loop={str(loop).lower()} caps="{caps}"'
            f" ! {'jpegdec' if jpeg else 'pngdec'} ! videoconvert ! videoscale add-borders=false"
            f" ! video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1 ! videoconvert ! {encode}"
        )
