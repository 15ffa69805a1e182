import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from patchline.stream.cameras.rtsp.access_units import AccessUnits
from patchline.stream.cameras.rtsp.session import RtspSession
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState
from tests.services.certificates import Certificates, certificates
from tests.services.faultcam import FaultCam


@pytest.fixture(scope="module")
def cam() -> Iterator[FaultCam]:
    """Cameras without TLS."""
    with FaultCam() as server:
        yield server


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of the module's camera."""
    return certificates(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def secured(papers: Certificates) -> Iterator[FaultCam]:
    """Cameras behind TLS."""
    with FaultCam(papers) as server:
        yield server


def first_pictures(session: RtspSession, count: int) -> int:
    """So many whole pictures are taken; returns how many of them are keyframes."""
    units = AccessUnits("h264")
    pictures: list[bool] = []
    until_s = monotonic() + 60
    while len(pictures) < count:
        taken = session.take(until_s)
        assert taken is not None
        pictures += [p.is_key for p in units.take(taken[0], lost=taken[1]) if p.is_whole]
    return sum(pictures)


def opened(url: str, **more: object) -> RtspSession:
    session = RtspSession(url, **more)  # type: ignore[arg-type]
    try:
        session.open(30)
    except BaseException:
        session.close()
        raise
    return session


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_come(cam: FaultCam, transport: str) -> None:
    """Over one connection, and as datagrams."""
    session = opened(cam.url(f"comes-{transport}", fps=50), transport=transport)
    assert first_pictures(session, 3) >= 1
    session.close()


@pytest.mark.parametrize("kind", ["digest", "basic"])
def test_a_login_is_given_where_it_is_asked_for(cam: FaultCam, kind: str) -> None:
    """Either way of asking; a wrong password is `unauthorised`, and not repeated in what is said."""
    wanted = {"login_": "viewer:sesame-7", "kind": kind, "fps": 50}
    session = opened(cam.url("locked", login="viewer:sesame-7", **wanted))
    assert first_pictures(session, 1) == 1
    session.close()
    with pytest.raises(CameraTroubleError) as caught:
        opened(cam.url("locked", login="viewer:other-word", **wanted))
    assert caught.value.state is CameraState.UNAUTHORISED
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("404", CameraState.NOT_FOUND),
        ("401", CameraState.UNAUTHORISED),
        ("403", CameraState.UNAUTHORISED),
        ("503", CameraState.REFUSED),
        ("audio_only", CameraState.NO_VIDEO),
        ("garbage_reply", CameraState.REFUSED),
    ],
)
def test_what_a_camera_answers_is_a_state(cam: FaultCam, fault: str, state: CameraState) -> None:
    """Each refusal by its name."""
    with pytest.raises(CameraTroubleError) as caught:
        opened(cam.url(f"refuses-{fault}", fault=fault))
    assert caught.value.state is state


@pytest.mark.parametrize("fault", ["silent", "drip"])
def test_who_does_not_answer_in_time_is_unreachable(cam: FaultCam, fault: str) -> None:
    """Nothing, and a byte now and then."""
    session = RtspSession(cam.url(fault, fault=fault))
    with pytest.raises(CameraTroubleError, match="does not answer in time") as caught:
        session.open(0.5)
    session.close()
    assert caught.value.state is CameraState.UNREACHABLE


def test_a_hung_camera_is_let_go_of_at_once(cam: FaultCam) -> None:
    """`cut` from another thread ends an attempt that would last a minute."""
    session = RtspSession(cam.url("hangs", fault="silent"))
    ended = threading.Event()

    def attempt() -> None:
        with pytest.raises(CameraTroubleError):
            session.open(600)
        ended.set()

    threading.Thread(target=attempt, daemon=True).start()
    session.cut()
    assert ended.wait(60)
    session.close()


def test_names_and_ports_that_are_not_there() -> None:
    """A name without an address is `dns`, a port where nobody listens `unreachable`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for url, state in (
        (f"rtsp://127.0.0.1:{port}/1", CameraState.UNREACHABLE),
        ("rtsp://no-such-camera.invalid/1", CameraState.DNS),
    ):
        with pytest.raises(CameraTroubleError) as caught:
            opened(url)
        assert caught.value.state is state


def test_certificates_are_proved(secured: FaultCam, papers: Certificates) -> None:
    """By the authority that is named."""
    session = opened(secured.url("proved", fps=50), ca_file=papers.authority)
    assert first_pictures(session, 1) == 1
    session.close()


@pytest.mark.parametrize("authority", ["stranger", "machine"])
def test_no_word_goes_to_a_stranger(secured: FaultCam, papers: Certificates, authority: str) -> None:
    """A certificate that nobody known has signed is `tls`; no request, and so no password, has been sent."""
    name = f"stranger-{authority}"
    ca_file: Path | None = papers.stranger if authority == "stranger" else None
    with pytest.raises(CameraTroubleError, match="ca_file") as caught:
        opened(secured.url(name, login="viewer:sesame"), ca_file=ca_file)
    assert caught.value.state is CameraState.TLS
    assert secured.sent(name) == []
