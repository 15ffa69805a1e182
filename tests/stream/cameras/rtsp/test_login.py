import hashlib
import re

from patchline.stream.cameras.rtsp.address import RtspAddress
from patchline.stream.cameras.rtsp.login import Login

ADDRESS = RtspAddress.parse("rtsp://Mufasa:Circle%20of%20Life@cam/dir/index.html")


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_nothing_is_sent_unasked() -> None:
    """A camera that asks for nothing, or a stranger that never answers, learns no name."""
    assert Login(ADDRESS).header("DESCRIBE", ADDRESS.url) is None


def test_digest_with_and_without_quality() -> None:
    """RFC 7616's formulas; the request counter grows."""
    login = Login(ADDRESS)
    assert login.challenged(['Basic realm="x"', 'Digest realm="r", nonce="abc", qop="auth,auth-int", opaque="o"'])
    for count in ("00000001", "00000002"):
        value = login.header("DESCRIBE", ADDRESS.url)
        assert value is not None
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', value))
        ha1, ha2 = md5("Mufasa:r:Circle of Life"), md5(f"DESCRIBE:{ADDRESS.url}")
        assert fields["nc"] == count
        assert fields["response"] == md5(f"{ha1}:abc:{count}:{fields['cnonce']}:auth:{ha2}")
        assert fields["opaque"] == "o"
        assert "Circle" not in value
    plain = Login(ADDRESS)
    assert plain.challenged(['Digest realm="r", nonce="abc"'])
    assert f'response="{md5(f"{ha1}:abc:{ha2}")}"' in (plain.header("DESCRIBE", ADDRESS.url) or "")


def test_a_login_that_is_refused_is_not_tried_again() -> None:
    """Only a stale nonce is a reason to answer once more; cameras lock out who goes on."""
    login = Login(ADDRESS)
    assert login.challenged(['Digest realm="r", nonce="1"'])
    assert not login.challenged(['Digest realm="r", nonce="2"'])
    assert login.challenged(['Digest realm="r", nonce="3", stale=true'])
    basic = Login(ADDRESS)
    assert basic.challenged(['Basic realm="x"'])
    assert basic.header("PLAY", "u") == "Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl"
    assert not basic.challenged(['Basic realm="x"'])
    assert not Login(RtspAddress.parse("rtsp://cam/1")).challenged(['Basic realm="x"'])
