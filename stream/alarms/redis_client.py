"""How the stream reaches Redis, who logs in there, and what Redis's errors mean.

Nothing that Redis says ends the service: a password that was changed, a right that was withdrawn, a fail-over and a
full memory are all mended on Redis's side, and alarms wait until they are.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.support.redaction import redact_url


class ForeignKeyError(SinkUnavailableError):
    """What lies under one of our names is of a type that we never write there."""


class RedisClient:
    """One Redis, with its errors translated.

    Args:
        config: the address, `rediss://` for TLS, the certificate authority that the server is verified with, and the
            files that hold a login.

    Raises:
        SinkError: the URL is not one of Redis.
    """

    def __init__(self, config: RedisConfig) -> None:
        self.where = redact_url(config.url)
        """The address without its secrets."""
        # A request whose answer is lost may have been carried out: who asks again has to know, so the library must not.
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0)}
        if config.ca_file is not None:
            options["ssl_ca_certs"] = str(config.ca_file)
        try:
            address, login = _split(config.url)
            if login is not None or config.url_file is not None or config.password_file is not None:
                options["credential_provider"] = _Login(config)
            self.redis: Any = redis.from_url(
                address,
                decode_responses=True,
                encoding_errors="surrogateescape",  # others may have written what is no UTF-8
                socket_timeout=config.timeout_s,
                socket_connect_timeout=config.timeout_s,
                **options,
            )
        except ValueError as error:
            raise SinkError(f"the Redis URL {self.where} is not one: {error}") from None

    async def ask(self, request: Callable[[], Any]) -> Any:
        """The answer to a request.

        Raises:
            ForeignKeyError: the key is of a type that is not ours.
            SinkUnavailableError: Redis is away, cannot serve it now, or refuses until somebody there mends it.
        """
        try:
            return await request()
        except (AuthenticationError, NoPermissionError) as error:
            raise SinkUnavailableError(f"Redis at {self.where} refuses: {error}") from error
        except ResponseError as error:
            kind = ForeignKeyError if "WRONGTYPE" in str(error) else SinkUnavailableError
            raise kind(f"Redis at {self.where}: {error}") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise SinkUnavailableError(f"Redis at {self.where}: {error}") from error

    async def close(self) -> None:
        """Disconnect."""
        await self.redis.aclose()


class _Login(CredentialProvider):
    """Who logs in: as the URL says, or the files as they are when a connection is made."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config

    def get_credentials(self) -> Any:
        """(user, password), (password,), or nothing, where there is no login."""
        config = self._config
        user, password = _split(config.url)[1] or ("", "")
        if config.url_file is not None:
            user, written = _split(_text_of(config.url_file))[1] or ("", "")
            password = written or password
        if config.password_file is not None:
            password = _text_of(config.password_file)
        if not user:
            return (password,) if password else ()
        return user, password

    async def get_credentials_async(self) -> Any:
        return await asyncio.to_thread(self.get_credentials)


def _split(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without its login, and the login: (user, password)."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AuthenticationError(f"{file} cannot be read: {why}") from error
