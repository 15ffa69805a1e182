"""Connecting to brokers, and saying in words why they let nobody in: a login or a certificate that is refused.

aiokafka logs why it cannot connect and raises only that it cannot; who is refused would try for ever without a word.
"""

import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from patchline.stream.config import KafkaConfig
from patchline.stream.kafka.connection import client_options


async def start(client: Any, config: KafkaConfig) -> None:
    """Start an aiokafka client.

    Args:
        client: consumer, producer or admin client.
        config: what it was made from.

    Raises:
        AuthenticationFailedError: the brokers refuse the login, or their certificate cannot be verified.
        KafkaError: whatever else.
    """
    try:
        await client.start()
    except KafkaConnectionError as error:
        refusal = await _refusal(config)
        if refusal is None:
            raise
        raise AuthenticationFailedError(refusal) from error


async def _refusal(config: KafkaConfig) -> str | None:
    """Why the first broker that answers lets nobody in; None where they are just away."""
    login = client_options(config)
    for server in login.pop("bootstrap_servers"):
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=5000, **login)
        except ssl.SSLCertVerificationError as error:
            authority = config.ca_file or "the system's certificate authorities"
            return (
                f"the certificate of {server} cannot be verified by {authority} ({error.verify_message}): expected "
                "ca_file to hold the authority that signed it, and its name to be the one that is connected to"
            )
        except ssl.SSLError as error:
            return f"{server} does not speak TLS as expected ({error.reason or error}): is security right?"
        except SaslAuthenticationFailed as error:
            return (
                f"{server} refuses the login of user {config.username!r} by {config.mechanism} ({_text(error)}): "
                "expected the username and password of a user that the brokers know"
            )
        except UnsupportedSaslMechanismError as error:
            return f"{server} does not offer the mechanism {config.mechanism} ({_text(error)})"
        except (OSError, KafkaError, ValueError):
            continue
        connection.close()
        return None
    return None


def _text(error: KafkaError) -> str:
    return str(error).strip() or type(error).__name__
