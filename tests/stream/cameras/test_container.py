import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.container import ContainerFeed, scheme_of
from patchline.stream.cameras.feed import EndOfRecordingError
from patchline.stream.cameras.trouble import CameraTroubleError
from tests.services.faultcam_clips import scene


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of `tmp_path` over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def film(path: Path, codec: str = "libx264") -> Path:
    """Ten pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene((96, 128), number), format="rgb24")))
        container.mux(stream.encode())
    return path


def pictures(feed: ContainerFeed) -> int:
    """How many come until the end."""
    count = 0
    while True:
        try:
            count += len(list(feed.take(0) or ()))
        except (EndOfRecordingError, CameraTroubleError):
            feed.close()
            return count


def config(url: str, *, live: bool = False) -> CameraConfig:
    return CameraConfig(name="c", recipe="r", url=url, live=live, open_timeout_s=30, read_timeout_s=30)


def test_files_and_streams_are_read_by_one_reader(tmp_path: Path, served: str) -> None:
    """A film as a file and over HTTP, and MJPEG over HTTP."""
    film(tmp_path / "film.mp4")
    film(tmp_path / "film.mjpeg", "mjpeg")
    for url in (str(tmp_path / "film.mp4"), f"{served}/film.mp4", f"{served}/film.mjpeg"):
        assert pictures(ContainerFeed(config(url), url)) == 10


@pytest.mark.parametrize("place", ["file", "http"])
def test_a_playlist_reads_no_file(tmp_path: Path, served: str, place: str) -> None:
    """A list of segments that names a file of this machine gives nothing, wherever it comes from."""
    secret = film(tmp_path / "secret.ts")
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    url = f"{served}/list.m3u8" if place == "http" else str(tmp_path / "list.m3u8")
    with pytest.raises(CameraTroubleError):
        ContainerFeed(config(url), url)


def test_segments_over_http_are_read(tmp_path: Path, served: str) -> None:
    """The same list with addresses beside its own."""
    film(tmp_path / "part.ts")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n")
    assert pictures(ContainerFeed(config(f"{served}/list.m3u8"), f"{served}/list.m3u8")) == 10


def test_what_is_not_there_or_no_video_is_told(tmp_path: Path) -> None:
    """By a sentence of ours."""
    missing, text = tmp_path / "missing.mp4", tmp_path / "text.mp4"
    text.write_text("no video at all")
    with pytest.raises(CameraTroubleError, match=r"missing\.mp4 is not there"):
        ContainerFeed(config(str(missing)), str(missing))
    with pytest.raises(CameraTroubleError, match=r"text\.mp4 sends what is no video that is read here"):
        ContainerFeed(config(str(text)), str(text))


def test_schemes() -> None:
    """A path is a file."""
    assert scheme_of("RTSPS://cam/1") == "rtsps"
    assert scheme_of("a/b.mp4") == "file"
