"""TLS of the HTTP port."""

import ssl
from pathlib import Path

from patchline.ops.errors import InputError
from patchline.ops.settings.process import HttpSettings


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server with this certificate speaks: TLS 1.2 or newer.

    Args:
        certificate: PEM, with the intermediate authorities behind it.
        key: its private key, PEM, without a password.

    Raises:
        InputError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password given, openssl would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.reason if isinstance(error, ssl.SSLError) else None
        raise InputError(
            f"http: {certificate} and {key} are no certificate and its key ({why or error}); expected PEM files that "
            "belong together, the key without a password (http.tls_certificate, http.tls_key)"
        ) from error
    return context


def tls_of(http: HttpSettings) -> ssl.SSLContext | None:
    """What the HTTP port speaks; None for plain HTTP. Raises InputError where the files are no certificate and key."""
    if http.tls_certificate is None or http.tls_key is None:
        return None
    return tls_context(http.tls_certificate, http.tls_key)
