"""The HTTP port: TLS, and the token that all but probes need."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from patchline.ops.errors import InputError
from patchline.ops.service.preflight import check_settings
from patchline.ops.web.server import HttpServer
from patchline.ops.web.tls import tls_context
from tests.ops.settings.test_model import LEAST, write
from tests.services.certificates import Certificates, certificates
from tests.services.process import ServiceUnavailableError

TOKEN = "a-token-of-a-test"  # noqa: S105 - made up


@pytest.fixture(scope="module")
def pem(
    tmp_path_factory: pytest.TempPathFactory, unavailable: Callable[[ServiceUnavailableError], NoReturn]
) -> Certificates:
    try:
        return certificates(tmp_path_factory.mktemp("certificates"))
    except ServiceUnavailableError as error:
        unavailable(error)


async def statuses(server: HttpServer, tls: ssl.SSLContext | None = None, **headers: str) -> dict[str, int]:
    """What each page answers."""
    found = {}
    async with aiohttp.ClientSession(headers=headers) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/nowhere"):
            async with client.get(server.url + path, ssl=tls or True) as answer:
                found[path] = answer.status
                if answer.status == 401:
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                    assert TOKEN not in await answer.text()
    return found


async def test_all_but_healthz_need_the_token() -> None:
    """Without it, or with another, every page but `/healthz` is 401, also those that are not there."""
    server = HttpServer(CollectorRegistry(), lambda: None, token=TOKEN)
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
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await statuses(server, ssl.create_default_context(cafile=str(pem.stranger)))
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientError):
                await client.get(server.url.replace("https", "http") + "/healthz")
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
