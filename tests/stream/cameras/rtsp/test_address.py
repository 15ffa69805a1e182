import pytest

from patchline.stream.cameras.rtsp.address import RtspAddress
from patchline.stream.cameras.trouble import CameraTroubleError


def test_a_login_is_taken_out_of_the_address() -> None:
    """What requests name has no password in it, and passwords may have any character, percent-encoded or an @."""
    made = RtspAddress.parse("rtsp://operator:p%40ss@w@10.0.0.7:8554/live/1?channel=2")
    assert (made.user, made.password) == ("operator", "p@ss@w")
    assert made.url == "rtsp://10.0.0.7:8554/live/1?channel=2"
    assert (made.host, made.port, made.where, made.is_encrypted) == ("10.0.0.7", 8554, "10.0.0.7:8554", False)
    assert "p@ss" not in repr(made)


def test_ports_and_literal_addresses() -> None:
    """A scheme has its own port; an IPv6 address keeps its brackets in messages."""
    assert RtspAddress.parse("rtsps://cam/1").port == 322
    assert RtspAddress.parse("rtsps://cam/1").is_encrypted
    assert RtspAddress.parse("rtsp://[fe80::1]/1").where == "[fe80::1]:554"


@pytest.mark.parametrize("url", ["rtsp:///1", "rtsp://cam:port/1", "http://cam/1", "rtsp://[::1/1"])
def test_an_address_without_a_host_is_refused(url: str) -> None:
    """The sentence does not repeat it."""
    with pytest.raises(CameraTroubleError, match="names no host") as caught:
        RtspAddress.parse(url)
    assert url not in str(caught.value)
