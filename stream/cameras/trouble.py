"""What is the matter with a camera, as a state and a sentence of our own.

Texts of libraries stay out: FFmpeg's name the whole URL with its password, and OpenSSL's say nothing to who hangs up
cameras.
"""

import socket
import ssl

from av import error as ffmpeg

from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import SourceUnavailableError

_EXPIRED, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _UNKNOWN_ISSUER, _OTHER_HOST, _OTHER_ADDRESS = 10, 18, 19, 20, 62, 64
_CERTIFICATE = {
    _EXPIRED: "its certificate has expired",
    _SELF_SIGNED: "its certificate is signed by itself; name it, or who signed it, in ca_file",
    _SELF_SIGNED_IN_CHAIN: "its certificate is signed by an authority that is not known here; name it in ca_file",
    _UNKNOWN_ISSUER: "its certificate is signed by an authority that is not known here; name it in ca_file",
    _OTHER_HOST: "its certificate is another host's",
    _OTHER_ADDRESS: "its certificate is for another address",
}
"""By OpenSSL's numbers of what is wrong with a certificate (X509_V_ERR_...)."""


class CameraTroubleError(SourceUnavailableError):
    """A camera gives no pictures now. `str()` is a sentence without credentials."""

    def __init__(self, state: CameraState, detail: str) -> None:
        super().__init__(detail)
        self.state = state


def connection_trouble(error: OSError, where: str) -> CameraTroubleError:
    """Why no connection came about, or why one was lost.

    Args:
        error: what the socket said.
        where: host and port.
    """
    match error:
        case socket.gaierror():
            return CameraTroubleError(CameraState.DNS, f"the name of {where} has no address")
        case ssl.SSLCertVerificationError():
            known = _CERTIFICATE.get(getattr(error, "verify_code", 0), "its certificate is not to be trusted")
            return CameraTroubleError(CameraState.TLS, f"{where} is not connected to: {known}")
        case ssl.SSLError():
            return CameraTroubleError(CameraState.TLS, f"{where} agrees on no encryption")
        case TimeoutError():
            return CameraTroubleError(CameraState.UNREACHABLE, f"{where} does not answer in time")
        case ConnectionRefusedError():
            return CameraTroubleError(CameraState.UNREACHABLE, f"nothing listens at {where}")
        case ConnectionError():
            return CameraTroubleError(CameraState.UNREACHABLE, f"{where} broke the connection")
        case _:
            return CameraTroubleError(CameraState.UNREACHABLE, f"there is no way to {where}")


def ffmpeg_trouble(error: ffmpeg.FFmpegError, where: str) -> CameraTroubleError:
    """What FFmpeg's error comes to, where it has read a stream."""
    state, why = CameraState.UNREACHABLE, "cannot be reached"
    match error:
        case ffmpeg.HTTPUnauthorizedError() | ffmpeg.HTTPForbiddenError():
            state, why = CameraState.UNAUTHORISED, "does not take this login"
        case ffmpeg.HTTPNotFoundError():
            state, why = CameraState.NOT_FOUND, "has no such stream"
        case ffmpeg.HTTPError():
            state, why = CameraState.REFUSED, "refuses"
        case ffmpeg.FileNotFoundError():
            state, why = CameraState.NOT_FOUND, "is not there"
        case ffmpeg.PermissionError():
            state, why = CameraState.REFUSED, "may not be read"
        case ffmpeg.LookupError():
            state, why = CameraState.UNDECODABLE, "is of a kind that is not read here"
        case ffmpeg.InvalidDataError() | ffmpeg.PatchWelcomeError():
            state, why = CameraState.UNDECODABLE, "sends what is no video that is read here"
        case ffmpeg.ExitError() | ffmpeg.TimeoutError():
            why = "does not answer in time"
        case ffmpeg.EOFError():
            why = "ended"
    return CameraTroubleError(state, f"{where} {why}")
