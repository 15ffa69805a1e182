"""Secrets in settings: a URL type that prints without its credentials, and the parts of a secret to mask."""

from pydantic import SecretStr

from patchline.stream.support.redaction import redact_url, secrets_of_url


class SecretUrl(SecretStr):
    """A URL that may carry credentials: it prints without them, `get_secret_value()` returns all of it."""

    def _display(self) -> str:
        return redact_url(self.get_secret_value())

    def __repr__(self) -> str:
        return f"SecretUrl({self._display()!r})"


def secret_values(url_or_secret: SecretStr) -> list[str]:
    """The parts of a secret that must never be seen: a plain secret itself; of a URL its login and its query."""
    value = url_or_secret.get_secret_value()
    return secrets_of_url(value) if isinstance(url_or_secret, SecretUrl) else [value]
