"""Texts that a server, a protocol or a library takes in one form only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from patchline.ops.settings import formats
from patchline.ops.settings.file import read_settings
from patchline.ops.settings.secrets import SecretUrl

LEAST = "recipes: {tile: {bank: tile}}\n"
MISSING = object()


def refusal(check: Callable[[Any], Any], text: Any) -> str | None:
    """What was expected; None where the text is taken, as it came."""
    try:
        assert check(text) is text
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "brokers",
    ["b:1", "a:1,b:65535", "a:1, b:2", "kafka_1", "::1", "[::1]:9092", "[fe80::1%eth0]:9092", "broker.example:9093"],
)
def test_brokers_are_hosts_and_ports(brokers: str) -> None:
    """Blanks around commas and a missing port were always taken."""
    assert refusal(formats.check_brokers, brokers) is None


@pytest.mark.parametrize(
    ("brokers", "expected"),
    [
        ("a:1 b:2", "blanks and semicolons separate none"),
        ("a:1;b:2", "blanks and semicolons separate none"),
        ("kafka://a:1", "without a scheme"),
        ("a:65536", "from 1 to 65,535"),
        ("a:0", "from 1 to 65,535"),
        ("a:123456789012345678901234567890", "from 1 to 65,535"),
        ("a:\N{DEVANAGARI DIGIT ONE}", "from 1 to 65,535"),
        ("a:", "host:port"),
        ("a:1,", "host:port"),
        ("a:b:c", "host:port"),
        ("user@a:1", "host:port"),
    ],
)
def test_what_is_no_list_of_brokers_is_refused(brokers: str, expected: str) -> None:
    """Each with what was expected, for a client would wait for ever, or ask a host of that odd name."""
    assert expected in (refusal(formats.check_brokers, brokers) or "")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("patchline.frames", True),
        ("a" * 249, True),
        ("a" * 250, False),
        (".", False),
        ("..", False),
        ("a/b", False),
        ("a b", False),
        ("\N{LATIN SMALL LETTER A WITH DIAERESIS}", False),
        ("__consumer_offsets", False),
    ],
)
def test_topics_have_names_that_kafka_takes(name: str, good: bool) -> None:
    """249 characters of a few kinds, and no topic of the brokers' own."""
    assert (refusal(formats.check_topic, name) is None) is good


@pytest.mark.parametrize(
    ("name", "good"), [("patchline", True), ("a b", True), (" a", False), ("a\n", False), ("g" * 201, False)]
)
def test_groups_have_names_that_people_can_read(name: str, good: bool) -> None:
    """Transactions and the group of feedback begin with it."""
    assert (refusal(formats.check_group, name) is None) is good


@pytest.mark.parametrize(
    ("host", "good"),
    [
        *((host, True) for host in ("127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "line-1")),  # noqa: S104
        *((host, False) for host in ("[::]", "*", "localhost:80", "http://a", "a b", "")),
    ],
)
def test_a_host_to_listen_on_has_no_port(host: str, good: bool) -> None:
    """The port is a key of its own."""
    assert (refusal(formats.check_host, host) is None) is good


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("redis://h", True),
        ("redis://h:6379/0", True),
        ("redis://:6379/0", True),
        ("redis:///0", True),
        ("redis://:p%2Fw@h:1/2", True),
        ("unix:///run/redis.sock?db=1", True),
        ("rtsp://admin:1@2@cam:554/x", True),
        ("rtsp://cam/1:99999", True),
        ("redis://:p/w@h/0", False),
        ("redis://h:70000/0", False),
        ("rtsp://cam:99999/1", False),
        ("rtsp://", False),
        ("rtsp://a b/1", False),
    ],
)
def test_urls_name_a_server_that_can_be_there(url: str, good: bool) -> None:
    """Its port is one, and a password's slash does not end the server's name; the message holds neither."""
    said = refusal(formats.check_url, SecretUrl(url))
    assert (said is None) is good
    assert "p/w" not in (said or "")


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("redis://h/3", True),
        ("redis://h/", True),
        ("unix:///run/word.sock", True),
        ("redis://h/word", False),
        ("redis://h/1/2", False),
        ("redis://h?db=word", False),
        ("unix:///run/r.sock?db=word", False),
    ],
)
def test_a_database_of_redis_is_a_number(url: str, good: bool) -> None:
    """Redis's library makes database 0 of a word."""
    assert (refusal(formats.check_redis_url, SecretUrl(url)) is None) is good


@pytest.mark.parametrize(
    ("place", "good"),
    [
        *((place, True) for place in ("banks/tile", "/b:99999", "s3://b/1:99999", "http://h:80/b", "memory://")),
        *((place, False) for place in ("http://h:65536/b", "filecache::http://u:1@h:0")),
    ],
)
def test_storage_has_ports_as_others_have(place: str, good: bool) -> None:
    """Folders have none, whatever their names."""
    assert (refusal(formats.check_place, place) is None) is good


@pytest.mark.parametrize(
    ("token", "good"),
    [
        ("a-token/of+16~letters=", True),
        ("a token of sixteen letters", False),
        ("token-with-\N{LATIN SMALL LETTER U WITH DIAERESIS}mlaut", False),
        ("token-with\nnewline", False),
        ("t" * 4097, False),
    ],
)
def test_a_token_is_what_a_header_carries(token: str, good: bool) -> None:
    """Printable ASCII without blanks."""
    assert (refusal(formats.check_token, SecretStr(token)) is None) is good


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("kafka: {bootstrap: 'a:1 b:2'}", "kafka.bootstrap", "'a:1 b:2'"),
        ("kafka: {frames_topic: a/b}", "kafka.frames_topic", "'a/b'"),
        ("kafka: {group: ' g'}", "kafka.group", "' g'"),
        ("http: {host: 'localhost:80'}", "http.host", "'localhost:80'"),
        ("http: {port: 70000}", "http.port", "70000"),
        ("http: {token: 'blanks in it, you see'}", "http.token", "a value that is not shown"),
        ("redis: {url: 'redis://h/word'}", "redis.url", "a value that is not shown"),
        ("cameras: {a: {source: rtsp, recipe: tile, url: 'rtsp://c:99999/'}}", "cameras.a.url", "not shown"),
        ("evidence: {url: 's3://bucket.example:70000/e'}", "evidence.url", "'s3://bucket.example:70000/e'"),
        ("alarms: {rebuild_s: .inf}", "alarms.rebuild_s", "inf"),
    ],
)
def test_each_is_told_by_its_key_and_line(tmp_path: Path, text: str, key: str, found: str) -> None:
    """What was found is shown unless it may hold a secret."""
    file = tmp_path / "line.yaml"
    file.write_text(f"{LEAST}{text}\n")
    (problem,) = read_settings(file).problems
    assert (problem.place, problem.key) == (f"{file}:2", key)
    assert found in problem.found
    assert problem.expected
