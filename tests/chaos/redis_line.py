"""A Redis with a password that is given trouble, and whether the alarms of a line are all there, and how soon."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import redis.asyncio as redis
from redis.exceptions import RedisError

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import AlarmConfig
from tests.services.redis import RedisServer
from tests.stream.alarm_help import Events, expected, found

_LOOK_EVERY_S = 0.05
_GIVE_UP_S = 90


@dataclass(slots=True)
class RedisLine:
    """The server as the line's worker knows it, with a file that holds its password."""

    server: RedisServer
    password: str
    password_file: Path
    config: KafkaConfig
    rule: AlarmConfig

    @property
    def where(self) -> RedisConfig:
        """As readers reach it."""
        return replace(RedisConfig(), url=self.server.url.replace("redis://", f"redis://:{self.password}@"))

    async def tell(self, *command: object) -> Any:
        """Send the server one command."""
        client: Any = redis.Redis(port=self.server.port, password=self.password)
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    async def new_password(self, password: str) -> None:
        """The server asks for another password from now on, also those that are connected."""
        await self.tell("CONFIG", "SET", "requirepass", password)
        self.password = password
        await self.tell("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def write_password(self) -> None:
        """The file has the password that the server asks for."""
        self.password_file.write_text(self.password)

    async def wanted(self) -> Events:
        """Every alarm event that the results so far make."""
        return await expected(self.config, self.rule)

    async def back_within_s(self, wanted: Events) -> tuple[float, Events]:
        """How long it takes until these are all there, and nothing else; and what is there."""
        begin = monotonic()
        told = await self._found()
        while told != wanted and monotonic() < begin + _GIVE_UP_S:
            await asyncio.sleep(_LOOK_EVERY_S)
            told = await self._found()
        return monotonic() - begin, told

    async def _found(self) -> Events:
        with suppress(RedisError):
            return await found(self.where)
        return {}
