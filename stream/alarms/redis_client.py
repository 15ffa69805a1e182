"""How the stream reaches Redis, and what Redis's errors mean."""

from collections.abc import Callable
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.support.redaction import redact_url

_PASSING_ERRORS = (ReadOnlyError, MasterDownError, OutOfMemoryError, TryAgainError)
"""Refusals that pass: a fail-over is under way, or memory is short. redis-py gives their text without the code."""
_PASSING_CODES = ("BUSY ", "MISCONF", "NOREPLICAS")
"""Others, by the code that begins their text: a script runs, the disk is full, replicas are away."""
_DATA_LOST_CODES = ("NOGROUP", "UNBLOCKED")
"""Codes of a Redis that has lost its data: the consumer group, or the key that a read waited for."""


class RedisClient:
    """One Redis, with its errors translated.

    Args:
        config: the address, `rediss://` for TLS, and the certificate authority that the server is verified with.

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
            self.redis: Any = redis.from_url(
                config.url,
                decode_responses=True,
                socket_timeout=config.timeout_s,
                socket_connect_timeout=config.timeout_s,
                **options,
            )
        except ValueError as error:
            raise SinkError(f"the Redis URL {self.where} is not one: {error}") from None

    async def ask(self, request: Callable[[], Any]) -> Any:
        """The answer to a request.

        Raises:
            SinkUnavailableError: Redis is away, or cannot serve it now.
            SinkError: Redis refuses.
        """
        try:
            return await request()
        except (AuthenticationError, NoPermissionError) as error:
            raise SinkError(f"Redis at {self.where} refuses: {error}") from error
        except ResponseError as error:
            passing = isinstance(error, _PASSING_ERRORS) or str(error).startswith(_PASSING_CODES + _DATA_LOST_CODES)
            kind = SinkUnavailableError if passing else SinkError
            raise kind(f"Redis at {self.where}: {error}") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise SinkUnavailableError(f"Redis at {self.where}: {error}") from error

    async def close(self) -> None:
        """Disconnect."""
        await self.redis.aclose()
