"""The sections on who may do what: tokens of the HTTP port, and keys that sign feedback on Kafka."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, SecretStr, model_validator

from patchline.ops.settings.base import Name, SecretFile, Section
from patchline.ops.settings.formats import Token
from patchline.stream.model.identity import Identity, Role
from patchline.stream.wire.signatures import FeedbackKeys, SigningKey

LEAST_KEY_BYTES = 32


def _from_json(value: object) -> object:
    """A list as an environment variable has it: below a name of the user's own nobody else decodes it."""
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(value)
    return value


FROM_JSON = BeforeValidator(_from_json)


class TokenSettings(Section):
    """A token of the HTTP port: whose it is, by its name, and what it opens."""

    secrets = ("token",)

    token: Token | None = Field(default=None, min_length=16, examples=["another-long-random-text"])
    """The token (`Authorization: Bearer ...`)."""
    token_file: SecretFile | None = Field(default=None, examples=["/run/secrets/tablet-1"])
    """File that holds the token."""
    roles: Annotated[list[Literal["viewer", "operator", "engineer", "metrics"]], FROM_JSON] = Field(
        min_length=1, examples=[["operator"]]
    )
    """`viewer`: frames, explanations, previews; `operator`: also feedback; `metrics`: metrics and readiness;
    `engineer`: all of these."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.token is None:
            raise ValueError("a token or a token_file")
        return self


class KeySettings(Section):
    """A key that signs feedback on Kafka: whose it is, by its name, and what it may sign."""

    secrets = ("key",)

    key: SecretStr | None = Field(
        default=None, min_length=LEAST_KEY_BYTES, examples=["32-or-more-random-characters-here"]
    )
    """The key, for HMAC-SHA256."""
    key_file: SecretFile | None = Field(default=None, examples=["/run/secrets/feedback-key"])
    """File that holds the key."""
    roles: Annotated[list[Literal["operator", "engineer", "worker"]], FROM_JSON] = Field(
        min_length=1, examples=[["worker"]]
    )
    """`operator`, `engineer`: feedback of its own; `worker`: it hands on what came over HTTP, and says whose it is."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.key is None:
            raise ValueError("a key or a key_file")
        return self


class FeedbackSettings(Section):
    """Whose feedback it is that comes over Kafka, which tells a reader nothing of who wrote."""

    keys: Mapping[Name, KeySettings] = Field(default_factory=dict)
    """Keys by name; what one has signed is feedback of the identity of that name."""
    sign_with: Name | None = Field(default=None, examples=["line-3"])
    """The key, with the role `worker`, that signs what comes over HTTP; unset: it reaches the others as unsigned."""
    unsigned: Literal["learn", "refuse"] = "learn"
    """What becomes of feedback without a signature. It never counts as the second person."""

    @model_validator(mode="after")
    def _signs_as_worker(self) -> Self:
        if self.sign_with is not None and "worker" not in getattr(self.keys.get(self.sign_with), "roles", ()):
            raise ValueError(f"sign_with to name one of keys with the role worker, not {self.sign_with!r}")
        return self

    def to_config(self) -> FeedbackKeys:
        """The keys, as Kafka's feedback needs them."""
        keys = {
            name: SigningKey(_identity(name, key.roles), key.key.get_secret_value().encode())
            for name, key in self.keys.items()
            if key.key is not None
        }
        return FeedbackKeys(keys, sign_with=self.sign_with, unsigned_learns=self.unsigned == "learn")


def identities_of(tokens: Mapping[str, TokenSettings]) -> dict[str, Identity]:
    """Each identity by its token."""
    return {
        token.token.get_secret_value(): _identity(name, token.roles)
        for name, token in tokens.items()
        if token.token is not None
    }


def _identity(name: str, roles: Iterable[str]) -> Identity:
    return Identity(name, frozenset(Role(role) for role in roles))
