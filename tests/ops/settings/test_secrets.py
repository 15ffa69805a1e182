from pydantic import SecretStr

from patchline.ops.settings.secrets import SecretUrl, secret_values


def test_a_secret_url_prints_without_its_credentials() -> None:
    """Neither `str` nor `repr` shows login or query; the whole of it is still to be had."""
    url = SecretUrl("rtsp://admin:1234@camera.example/1?key=x")
    assert str(url) == "rtsp://***@camera.example/1?***"
    assert repr(url) == "SecretUrl('rtsp://***@camera.example/1?***')"
    assert url.get_secret_value() == "rtsp://admin:1234@camera.example/1?key=x"


def test_the_parts_of_a_secret_that_are_masked_by_value() -> None:
    """A plain secret is masked whole; of a URL the query, the login, and the password as written and as meant."""
    assert secret_values(SecretStr("rtsp://a:b@c")) == ["rtsp://a:b@c"]
    url = SecretUrl("rtsp://admin:p%40ss@cam/1?key=x")
    assert secret_values(url) == ["key=x", "admin:p%40ss", "p%40ss", "p@ss"]
    assert secret_values(SecretUrl("rtsp://cam/1")) == []
    assert secret_values(SecretUrl("rtsp://a:b@c@cam/1")) == ["a:b@c", "b@c"]
    assert secret_values(SecretUrl("rtsp://cam/user=admin&password=1234%20&channel=1")) == ["1234%20", "1234 "]
