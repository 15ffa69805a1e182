"""Redis with least rights, and over TLS."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis._parsers.base import BaseParser

from patchline.stream.alarms.acknowledgements import acknowledge_alarm
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.redis_client import ForeignKeyError, RedisClient
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmChange, AlarmState
from patchline.stream.model.errors import ConfigError, SinkError, SinkUnavailableError
from tests.services.process import free_port
from tests.services.redis import RedisServer
from tests.stream.alarms.test_health import events_of, telling, written
from tests.stream.alarms.test_store import outcomes, sink_of
from tests.stream.readme_examples import examples
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

PASSWORD = "change-me"  # noqa: S105 - an example
"""Of the documented users."""


@pytest.fixture
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with the documented users, and no default user; a parameter names rights that they do not have."""
    users = tmp_path / "users.acl"
    boss = "user boss on >b allkeys allchannels +@all\n"
    documented = examples("redis users")[0]
    for right in getattr(request, "param", ()):
        assert f" {right} " in documented
        documented = documented.replace(f" {right} ", " ")
    users.write_text("user default off\n" + boss + documented)
    with RedisServer(options=["--aclfile", str(users)]) as server:
        server.start_redis()
        yield server


def as_user(server: RedisServer, user: str, password: str = PASSWORD) -> RedisConfig:
    return RedisConfig(url=server.url.replace("//", f"//{user}:{password}@"), timeout_s=2.0)


async def send(client: redis.Redis, *words: str) -> None:
    """Send a command, word by word."""
    await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it without types


@pytest.mark.parametrize("guarded", [(), ("+hlen", "+srem")], indirect=True, ids=["of now", "of 0.1.0"])
async def test_the_documented_rights_are_enough(guarded: RedisServer, tmp_path: Path) -> None:
    """Workers raise and clear, people list, acknowledge and watch, an asker asks: each as its documented user."""
    seen = Recorder()
    worker = as_user(guarded, "worker")
    sink = sink_of(worker, tmp_path / "journal", seen)
    await sink.open()
    await sink.deliver(outcomes("RR") + outcomes("RR", camera="cam-2"))
    await until(lambda: len(seen.alarm_events) == 2)
    people = AlarmStore(as_user(guarded, "people"))
    assert [stored.alarm.state for stored in await people.all()] == [AlarmState.UNACKNOWLEDGED] * 2
    live = people.live()
    watching = anext(live)
    acknowledged = await acknowledge_alarm(people, "cam-1", "ada")
    assert [event.change for event in acknowledged] == [AlarmChange.ACKNOWLEDGED]
    asker = AlarmStore(as_user(guarded, "asking"))
    await asker.request_acknowledgement("cam-2", "ben")
    assert (await watching).camera in ("cam-1", "cam-2")
    await until(lambda: len(seen.alarm_events) == 3)
    await sink.deliver(outcomes("PPP", first=2))
    await until(lambda: len(seen.alarm_events) == 4)
    await sink.close()
    await live.aclose()
    await people.close()
    await asker.close()


async def test_no_user_has_more(guarded: RedisServer) -> None:
    """A worker reaches nothing beside its keys, people cannot delete the stream, an asker cannot read a state."""
    for user, command in (
        ("worker", ("GET", "other")),
        ("worker", ("HGETALL", "other:alarm:cam-1")),
        ("worker", ("FLUSHALL",)),
        ("people", ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "patchline:alarms:ack", ">")),
        ("people", ("PUBLISH", "other", "x")),
        ("asking", ("HGETALL", "patchline:alarm:cam-1")),
        ("asking", ("XADD", "patchline:alarms", "*", "event", "{}")),
    ):
        client = redis.from_url(as_user(guarded, user).url)
        with pytest.raises(redis.ResponseError, match="permission"):
            await send(client, *command)
        await client.aclose()


async def test_a_login_that_is_refused_is_an_error_without_its_password(guarded: RedisServer) -> None:
    """A wrong password, and rights that are missing, are told, and the password is not; both may be mended there."""
    for user, password in (("worker", "hunter2-hunter2"), ("asking", PASSWORD)):
        store = AlarmStore(as_user(guarded, user, password))
        with pytest.raises(SinkUnavailableError, match="refuses") as caught:
            await store.load("cam-1")
        assert password not in str(caught.value)
        await store.close()


async def test_a_fail_over_passes(tmp_path: Path) -> None:
    """A Redis that has become a replica takes no writes (READONLY): the alarm waits, and is there when it may write."""
    with RedisServer() as server:
        server.start_redis()
        config, seen = RedisConfig(url=server.url, timeout_s=2.0), Recorder()
        administrator = redis.from_url(server.url)
        sink = sink_of(config, tmp_path / "journal", seen)
        await sink.open()
        await until(lambda: seen.redis_up is True or bool(seen.retries))
        await send(administrator, "REPLICAOF", "127.0.0.1", "1")
        await sink.deliver(outcomes("RR"))
        await until(lambda: any("read only replica" in error for _, error in seen.retries))
        assert seen.alarm_events == []
        await send(administrator, "REPLICAOF", "NO", "ONE")
        await until(lambda: len(seen.alarm_events) == 1)
        await sink.close()
        await administrator.aclose()


def answered(text: str) -> Exception:
    """The error that the library makes of an answer of Redis."""
    error: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call] # redis-py leaves it without types
    return error


@pytest.mark.parametrize(
    "error",
    [
        answered("READONLY You can't write against a read only replica."),
        answered("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        answered("OOM command not allowed when used memory > 'maxmemory'."),
        answered("TRYAGAIN Multiple keys request during rehashing of slot"),
        answered("LOADING Redis is loading the dataset in memory"),
        answered("BUSY Redis is busy running a script."),
        answered("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."),
        answered("NOREPLICAS Not enough good replicas to write."),
        answered("NOGROUP No such consumer group"),
        answered("UNBLOCKED the stream key no longer exists"),
        redis.ConnectionError("reset"),
        redis.TimeoutError("late"),
        OSError("no route"),
        TimeoutError("late"),
    ],
)
async def test_what_passes_is_tried_again(error: Exception) -> None:
    """Of the answers of Redis, and of a Redis that gives none, these pass by themselves."""
    with pytest.raises(SinkUnavailableError, match=r"Redis at redis://localhost:6379/0: ") as caught:
        await _asked(error)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (answered("BUSYGROUP Consumer Group name already exists"), "6379/0: BUSYGROUP Consumer Group"),
        (answered("ERR unknown command 'EVALSHA'"), "6379/0: unknown command"),
        (answered("NOPERM this user has no permissions"), "6379/0 refuses: this user has no permissions"),
        (answered("WRONGPASS invalid username-password pair"), "6379/0 refuses: invalid username-password pair"),
        (answered("NOAUTH Authentication required."), "6379/0 refuses: Authentication required"),
    ],
)
async def test_what_somebody_has_to_mend_is_tried_again_too(error: Exception, text: str) -> None:
    """Whatever Redis says, alarms wait: frames do not."""
    with pytest.raises(SinkUnavailableError, match=text) as caught:
        await _asked(error)
    assert caught.value.__cause__ is error


async def test_a_key_of_another_type_is_not_ours() -> None:
    """Whoever asks can tell it from a Redis that is away."""
    with pytest.raises(ForeignKeyError, match="WRONGTYPE"):
        await _asked(answered("WRONGTYPE Operation against a key holding the wrong kind of value"))


async def refusal(store: AlarmStore) -> str:
    """What Redis says after its first answer, which may be that the connection is gone."""
    said = ""
    for _ in range(2):
        with pytest.raises(SinkUnavailableError) as caught:
            await store.load("cam-1")
        said = str(caught.value)
    return said


async def test_a_password_file_is_read_again_at_each_connection(guarded: RedisServer, tmp_path: Path) -> None:
    """The password is changed there and in the file: the next connection has it; a URL's file gives its login."""
    administrator = redis.from_url(as_user(guarded, "boss", "b").url)
    password, url = tmp_path / "password", tmp_path / "url"
    password.write_text(f"{PASSWORD}\n")
    plain = guarded.url.replace("//", "//worker@")
    url.write_text(f"{as_user(guarded, 'worker').url}\n")
    by_password = AlarmStore(RedisConfig(url=plain, password_file=password))
    by_url = AlarmStore(RedisConfig(url=as_user(guarded, "worker", "old").url, url_file=url))
    for store in (by_password, by_url):
        assert (await store.load("cam-1")).version == 0
    await send(administrator, "ACL", "SETUSER", "worker", "resetpass", ">another", "on")
    await send(administrator, "CLIENT", "KILL", "USER", "worker")
    for store in (by_password, by_url):
        assert "refuses: invalid username-password pair" in await refusal(store)
    password.write_text("another")
    url.write_text(as_user(guarded, "worker", "another").url)
    for store in (by_password, by_url):
        assert (await store.load("cam-1")).version == 0
        assert "another" not in store.where
    password.unlink()
    await send(administrator, "CLIENT", "KILL", "USER", "worker")
    assert "password cannot be read: No such file" in await refusal(by_password)
    for store in (by_password, by_url):
        await store.close()
    await administrator.aclose()


async def test_alarms_wait_for_a_password_and_frames_do_not(tmp_path: Path) -> None:
    """A password is set while the service runs, later its file has it: the alarms of meanwhile are there, once."""
    password = tmp_path / "password"
    password.write_text("first\n")
    with RedisServer(options=["--requirepass", "first"]) as server:
        server.start_redis()
        config = RedisConfig(url=server.url, password_file=password, timeout_s=1.0)
        administrator, seen = redis.from_url(server.url.replace("//", "//:first@")), Recorder()
        sink = sink_of(config, tmp_path / "journal", seen)
        await sink.open()
        await sink.deliver(outcomes("RP"))
        await until(lambda: seen.redis_up is True)
        await send(administrator, "CONFIG", "SET", "requirepass", "secret")
        await send(administrator, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await sink.deliver(outcomes("RPPP", first=2))
        await until(lambda: any("refuses" in error for _, error in seen.retries))
        await sink.deliver(outcomes("RR", first=6))
        assert seen.redis_up is False
        password.write_text("secret")
        await until(lambda: len(seen.alarm_events) == 3, seconds=2)
        await sink.close()
        await administrator.aclose()


async def _asked(error: Exception) -> None:
    client = RedisClient(RedisConfig())

    async def refused() -> None:
        raise error

    try:
        await client.ask(refused)
    finally:
        await client.close()


async def test_an_answer_is_handed_on_and_a_wrong_url_is_told_without_its_password() -> None:
    """The client changes no answer; a URL of another kind is no URL of Redis."""
    client = RedisClient(RedisConfig(url="redis://:hunter2@localhost:1/0", timeout_s=0.5))

    async def answer() -> str:
        return "PONG"

    assert await client.ask(answer) == "PONG"
    assert client.where == "redis://***@localhost:1/0"
    with pytest.raises(SinkUnavailableError, match=r"redis://\*\*\*@localhost:1/0"):
        await client.ask(client.redis.ping)
    await client.close()
    with pytest.raises(SinkError, match="is not one") as wrong:
        RedisClient(RedisConfig(url="http://:hunter2@localhost/0"))
    assert "hunter2" not in str(wrong.value)


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate authority, and the certificate and key of 127.0.0.1 that it has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this machine: install the Debian package openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    def make(name: str, *more: str) -> tuple[Path, Path]:
        certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
        command = [openssl, "req", "-x509", *key, "-keyout", str(secret), "-out", str(certificate), *more]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, secret

    authority, authority_key = make("ca", "-subj", "/CN=test authority")
    signed_by = ["-CA", str(authority), "-CAkey", str(authority_key)]
    name = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    return authority, *make("server", *signed_by, *name)


async def test_redis_over_tls(tmp_path: Path) -> None:
    """`rediss://` with the server's authority works; with another authority, or the system's, nothing is sent."""
    authority, certificate, key = certificates(tmp_path)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    with RedisServer(options=[*tls, "--tls-ca-cert-file", str(authority), "--tls-auth-clients", "no"]) as server:
        server.start_redis()
        trusted = RedisConfig(url=f"rediss://127.0.0.1:{port}/0", ca_file=authority, timeout_s=2.0)
        store = AlarmStore(trusted)
        await store.ping()
        await store.close()
        seen = Recorder()
        sink = sink_of(trusted, tmp_path / "journal", seen)
        await sink.open()
        await sink.deliver(outcomes("RR"))
        await until(lambda: len(seen.alarm_events) == 1)
        await sink.close()
        for ca_file in (None, certificate):
            stranger = AlarmStore(replace(trusted, ca_file=ca_file))
            with pytest.raises(SinkUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.ping()
            await stranger.close()
    with pytest.raises(ConfigError, match="does not begin with rediss://"):
        RedisConfig(url="redis://127.0.0.1/0", ca_file=authority)


async def test_documented_rights_are_enough_for_the_health_alarm(guarded: RedisServer) -> None:
    """A worker of an earlier release needs no further right for it."""
    async with telling(as_user(guarded, "worker")) as alarms:
        for event in events_of("dark", "ok"):
            alarms.put(event)
        while len((await written(as_user(guarded, "boss", "b")))[1]) < 2:
            await asyncio.sleep(0.02)
