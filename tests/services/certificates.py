"""A certificate authority of a test's own, and certificates for servers on 127.0.0.1; made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import ServiceUnavailableError, find_program


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. `key` is PKCS 8 without a password; `authority` signed `certificate`; `stranger` signed nothing."""

    authority: Path
    certificate: Path
    key: Path
    stranger: Path


def certificates(folder: Path) -> Certificates:
    """Make them in a folder; valid for a day, for 127.0.0.1 and localhost."""
    authority, stranger = _authority(folder / "authority"), _authority(folder / "stranger")
    certificate, key = folder / "server.pem", folder / "server-key.pem"
    _openssl(
        *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
        *("-CA", authority, "-CAkey", authority.with_name("authority-key.pem")),
        *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return Certificates(authority, certificate, key, stranger)


def _authority(name: Path) -> Path:
    certificate = name.with_suffix(".pem")
    _openssl("-keyout", name.with_name(f"{name.name}-key.pem"), "-out", certificate, "-subj", f"/CN=test {name.name}")
    return certificate


def _openssl(*arguments: object) -> None:
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1")
    command = [find_program("openssl", "openssl"), "req", *kind, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise ServiceUnavailableError(f"openssl could make no certificate:\n{done.stderr}")
