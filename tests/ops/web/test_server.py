"""The HTTP port: TLS, and the token that all but probes need."""

import ssl
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar import get, post
from litestar.params import JSONBody
from prometheus_client import CollectorRegistry

from patchline.ops.errors import InputError
from patchline.ops.service.preflight import check_settings
from patchline.ops.web.access import ANYONE, Tokens
from patchline.ops.web.server import HttpServer
from patchline.ops.web.tls import tls_context
from patchline.stream.model.identity import Identity, Role
from tests.ops.settings.test_model import LEAST, write
from tests.services.certificates import Certificates

TOKEN = "a-token-of-a-test"  # noqa: S105 - made up


async def statuses(server: HttpServer, tls: ssl.SSLContext | None = None, **headers: str) -> dict[str, int]:
    """What each page answers."""
    found = {}
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with httpx.AsyncClient(headers=given, verify=tls or True, trust_env=False) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/nowhere"):
            answer = await client.get(server.url + path)
            found[path] = answer.status_code
            if answer.status_code == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert TOKEN not in answer.text
    return found


async def test_all_but_healthz_need_the_token() -> None:
    """Without it, or with another, every page but `/healthz` is 401, also those that are not there."""
    server = HttpServer(CollectorRegistry(), lambda: None, tokens=Tokens({TOKEN: Identity("t", frozenset(Role))}))
    await server.start()
    try:
        refused = {"/healthz": 200, "/readyz": 401, "/metrics": 401, "/nowhere": 401}
        assert await statuses(server) == refused
        for wrong in (f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer \N{SNOWMAN}"):
            assert await statuses(server, Authorization=wrong) == refused
        assert await statuses(server, Authorization=f"Bearer {TOKEN}") == dict.fromkeys(refused, 200) | {
            "/nowhere": 404
        }
    finally:
        await server.stop()


async def test_https_is_spoken_with_the_certificate_of_the_settings(pem: Certificates) -> None:
    """A client that trusts the authority is answered, one that does not is not, and plain HTTP is not."""
    server = HttpServer(CollectorRegistry(), lambda: None, tls=tls_context(pem.certificate, pem.key))
    await server.start()
    try:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(pem.authority))
        assert (await statuses(server, trusting))["/metrics"] == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await statuses(server, ssl.create_default_context(cafile=str(pem.stranger)))
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(server.url.replace("https", "http") + "/healthz")
    finally:
        await server.stop()


async def test_healthz_is_bad_while_something_hangs() -> None:
    """With the reason, and asked for by HEAD as well."""
    health: list[str | None] = [None]
    server = HttpServer(CollectorRegistry(), lambda: None, health=lambda: health[0])
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.text) == (200, "ok\n")
            health[0] = "engine has not moved for 61.0 s"
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.text) == (503, "engine has not moved for 61.0 s\n")
            answer = await client.head("/healthz")
            assert (answer.status_code, answer.text) == (503, "")
    finally:
        await server.stop()


class Given(msgspec.Struct):
    number: int


async def test_whatever_is_asked_wrongly_is_told_in_json(caplog: pytest.LogCaptureFixture) -> None:
    """Bodies that are no JSON, too large, too deep or of another kind, methods, and a route that breaks."""

    @post("/take", status_code=202, opt=dict(ANYONE))
    async def take(data: JSONBody[Given]) -> int:
        return data.number

    @get("/break", opt=dict(ANYONE))
    async def breaks() -> str:
        raise RuntimeError("of the inside")

    server = HttpServer(CollectorRegistry(), lambda: None, routes=[take, breaks], max_body_bytes=200_000)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.post("/take", content=b'{"number": 3}')).text == "3"
            for body, status, said in (
                (b"{", 400, "truncated"),
                (b'{"number": "x"}', 400, "number: Expected `int`, got `str`"),
                (b"[]", 400, "Expected `object`, got `array`"),
                (b"", 400, "data"),
                (b'{"number": ' + b"[" * 100_000 + b"]" * 99_000 + b"}", 400, ""),
                (b" " * 200_001, 413, ""),
            ):
                answer = await client.post("/take", content=body)
                assert (answer.status_code, said in answer.json()["error"]) == (status, True), (body[:30], answer.text)
            answer = await client.put("/take")
            assert (answer.status_code, "POST" in answer.headers["allow"]) == (405, True)
            assert (await client.get("/nowhere")).status_code == 404
            answer = await client.get("/break")
            assert (answer.status_code, "inside" in answer.text) == (500, False)
    finally:
        await server.stop()


def test_a_certificate_without_its_key_is_named(pem: Certificates, tmp_path: Path) -> None:
    """Files that are no pair, or not there, are named by `patchline check` and by the start; one alone is as well."""
    for certificate, key in ((pem.certificate, pem.authority), (tmp_path / "no.pem", pem.key), (pem.key, pem.key)):
        with pytest.raises(InputError, match="are no certificate and its key"):
            tls_context(certificate, key)
        file = write(tmp_path, LEAST + f"http: {{tls_certificate: {certificate}, tls_key: {key}}}\n")
        (found,) = [p for p in check_settings(file).problems if p.key == "http.tls_certificate"]
        assert str(certificate) in found.found
    file = write(tmp_path, LEAST + f"http: {{tls_certificate: {pem.certificate}}}\n")
    assert any("tls_certificate and tls_key" in problem.expected for problem in check_settings(file).problems)
