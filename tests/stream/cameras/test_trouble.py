import socket
import ssl

import pytest
from av import error as ffmpeg

from patchline.stream.cameras.trouble import connection_trouble, ffmpeg_trouble
from patchline.stream.model.camera_state import CameraState


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (socket.gaierror(-2, "Name or service not known"), CameraState.DNS),
        (ssl.SSLCertVerificationError(1, "secret"), CameraState.TLS),
        (ssl.SSLError(1, "secret"), CameraState.TLS),
        (TimeoutError("secret"), CameraState.UNREACHABLE),
        (ConnectionResetError(104, "secret"), CameraState.UNREACHABLE),
        (OSError(113, "secret"), CameraState.UNREACHABLE),
    ],
)
def test_what_a_socket_says_is_a_state(error: OSError, state: CameraState) -> None:
    """In our words, with the place in them."""
    trouble = connection_trouble(error, "cam:554")
    assert trouble.state is state
    assert "cam:554" in str(trouble)
    assert "secret" not in str(trouble)
    assert trouble.retriable


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (ffmpeg.HTTPUnauthorizedError, CameraState.UNAUTHORISED),
        (ffmpeg.HTTPNotFoundError, CameraState.NOT_FOUND),
        (ffmpeg.HTTPServerError, CameraState.REFUSED),
        (ffmpeg.InvalidDataError, CameraState.UNDECODABLE),
        (ffmpeg.ProtocolNotFoundError, CameraState.UNDECODABLE),
        (ffmpeg.ExitError, CameraState.UNREACHABLE),
        (ffmpeg.ConnectionRefusedError, CameraState.UNREACHABLE),
    ],
)
def test_what_ffmpeg_says_is_a_state(kind: type[ffmpeg.FFmpegError], state: CameraState) -> None:
    """FFmpeg's message, with the whole URL, stays out."""
    trouble = ffmpeg_trouble(kind(1, "message", "http://user:sesame@cam/1"), "http://***@cam/1")
    assert trouble.state is state
    assert "sesame" not in str(trouble)
    assert "message" not in str(trouble)
