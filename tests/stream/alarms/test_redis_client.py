"""Redis with least rights, and over TLS."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio as redis

from patchline.stream.alarms.acknowledgements import acknowledge_alarm
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmChange, AlarmState
from patchline.stream.model.errors import ConfigError, SinkError, SinkUnavailableError
from tests.services.process import free_port
from tests.services.redis import RedisServer
from tests.stream.alarms.test_store import outcomes, sink_of
from tests.stream.kafka_help import until
from tests.stream.readme_examples import examples
from tests.stream.scripted import Recorder

PASSWORD = "change-me"  # noqa: S105 - an example
"""Of the documented users."""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with the documented users, and no default user."""
    users = tmp_path / "users.acl"
    users.write_text("user default off\n" + examples("redis users")[0])
    with RedisServer(options=["--aclfile", str(users)]) as server:
        server.start_redis()
        yield server


def as_user(server: RedisServer, user: str, password: str = PASSWORD) -> RedisConfig:
    return RedisConfig(url=server.url.replace("//", f"//{user}:{password}@"), timeout_s=2.0)


async def test_the_documented_rights_are_enough(guarded, tmp_path):
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


async def test_no_user_has_more(guarded):
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
            await client.execute_command(*command)
        await client.aclose()


async def test_a_login_that_is_refused_is_an_error_without_its_password(guarded):
    """A wrong password, and rights that are missing, are told at once, and the password is not."""
    for user, password in (("worker", "hunter2-hunter2"), ("asking", PASSWORD)):
        store = AlarmStore(as_user(guarded, user, password))
        with pytest.raises(SinkError, match="refuses") as caught:
            await store.load("cam-1")
        assert not isinstance(caught.value, SinkUnavailableError)
        assert password not in str(caught.value)
        await store.close()


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


async def test_redis_over_tls(tmp_path):
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
