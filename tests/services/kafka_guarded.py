"""A broker that lets only known users in, over TLS, and asks ACLs what they may do."""

import argparse
import re
import shlex
from collections.abc import Iterable
from typing import TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.services.certificates import Certificates
from tests.services.kafka import KafkaBroker
from tests.services.process import free_port

Right: TypeAlias = tuple[str, str, str, str]
"""Kind of resource, its name, `literal` or `prefixed`, operation."""
# Kafka's codes: ResourceType, PatternType, AclOperation, AclPermissionType.
_KINDS = {"topic": 2, "group": 3, "transactional_id": 5}
_PATTERNS = {"literal": 3, "prefixed": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_ALLOW = 3


class GuardedBroker(KafkaBroker):
    """SASL_SSL for clients, SCRAM-SHA-512 and PLAIN; `bootstrap` is that listener.

    The administrator's own listener, `inside`, asks nothing. What no ACL allows is denied.

    Args:
        certificates: the broker's.
        users: passwords by name.
    """

    def __init__(self, certificates: Certificates, users: dict[str, str]) -> None:
        super().__init__()
        self._certificates, self._users = certificates, users
        self._inside_port = free_port()
        self.format_options = [
            option
            for name, word in users.items()
            for option in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={word}]")
        ]

    @property
    def inside(self) -> str:
        """HOST:PORT of the administrator."""
        return f"127.0.0.1:{self._inside_port}"

    @property
    def ports(self) -> list[int]:
        """See `KafkaBroker`."""
        return [self.port, self._inside_port]

    def properties(self) -> dict[str, object]:
        """See `KafkaBroker`."""
        keystore = self.directory / "keystore.pem"
        keystore.write_text(self._certificates.key.read_text() + self._certificates.certificate.read_text())
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        users = " ".join(f'user_{name}="{word}"' for name, word in self._users.items())
        given = super().properties()
        controller = str(given["listeners"]).rpartition(",")[2]
        return given | {
            "listeners": f"CLIENTS://127.0.0.1:{self.port},INSIDE://{self.inside},{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.port},INSIDE://{self.inside}",
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INSIDE",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keystore,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.clients.plain.sasl.jaas.config": f"{plain} {users};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    async def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Allow a user these, by ACLs of the administrator."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.inside)
        await admin.start()
        try:
            for kind, name, pattern, operation in rights:
                allow = CreateAclsRequest(
                    _KINDS[kind], name, _PATTERNS[pattern], f"User:{user}", "*", _OPERATIONS[operation], _ALLOW
                )
                answer = await admin._send_request(allow)
                assert all(code == 0 for code, *_ in answer.creation_responses), answer
        finally:
            await admin.close()


def documented_rights(text: str) -> list[Right]:
    """What the `kafka-acls.sh` commands in a text grant."""
    found: list[Right] = []
    parser = argparse.ArgumentParser()
    for name in ("--operation", "--topic", "--group", "--transactional-id"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--resource-pattern-type", default="literal")
    for command in re.findall(r"^\s*(?:\$ )?kafka-acls\.sh (.*)", text.replace("\\\n", " "), re.MULTILINE):
        given, _ = parser.parse_known_args(shlex.split(command))
        for kind in _KINDS:
            for resource in getattr(given, kind):
                found += [(kind, resource, given.resource_pattern_type, operation) for operation in given.operation]
    return found
