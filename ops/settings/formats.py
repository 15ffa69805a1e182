"""Texts of settings that a server, a protocol or a library takes in one form only: checked where they enter.

Each function returns the text as it came, or raises ValueError with what was expected: pydantic tells the key and the
line beside it.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from patchline.ops.settings.secrets import SecretUrl

MAX_PORT = 65_535
MAX_TOPIC_LENGTH = 249
"""Kafka's own; a log's folder has the topic's name and the partition's number."""
MAX_GROUP_LENGTH = 200
"""Names of transactions and of the group for feedback begin with it."""
MAX_TOKEN_LENGTH = 4096
_TOPIC = re.compile(r"[A-Za-z0-9._-]+")
_INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state", "__cluster_metadata", "__share_group_state")
_HOST = re.compile(r"[^\s,;/@?#:\[\]'\"]+|\[[0-9A-Fa-f:.]+(%\w+)?\]")
_LOCAL_BY_DEFAULT = ("redis", "rediss")
_TOKEN = re.compile(r"[!-~]+")


def check_topic(name: str) -> str:
    """A topic's name by the rule of Kafka's brokers, and none of their own."""
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError("a topic's name: letters of English, digits, '.', '_' and '-', and not '.' or '..' alone")
    if len(name) > MAX_TOPIC_LENGTH:
        raise ValueError(f"a topic's name of at most {MAX_TOPIC_LENGTH} characters, this one has {len(name)}")
    if name in _INTERNAL_TOPICS:
        raise ValueError("a topic of your own: Kafka keeps its own records there")
    return name


def check_group(name: str) -> str:
    """A consumer group's name: Kafka takes any, people and log lines do not."""
    if not name.isprintable() or name != name.strip() or len(name) > MAX_GROUP_LENGTH:
        raise ValueError(
            f"a group's name of at most {MAX_GROUP_LENGTH} characters that can be printed, no blank at its ends"
        )
    return name


def check_brokers(brokers: str) -> str:
    """`host:port`, several separated by commas; the port may be left out."""
    for broker in brokers.split(","):
        _check_address(broker.strip(), "host:port, several separated by commas")
    return brokers


def check_host(host: str) -> str:
    """A name or an address to listen on, without a port."""
    if not _is_ipv6(host) and (not _HOST.fullmatch(host) or host.startswith("[") or "*" in host):
        raise ValueError("a name or an address alone, such as 127.0.0.1, 0.0.0.0 or ::; the port is http.port")
    return host


def check_url(url: SecretUrl) -> SecretUrl:
    """A URL whose server can be there: it names one, and its port is one."""
    scheme, _, rest = url.get_secret_value().partition("://")
    if scheme == "unix":
        return url
    server = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if scheme in _LOCAL_BY_DEFAULT and (not server or server.startswith(":")):
        server = f"localhost{server}"
    form = f"{scheme}://host:port/... (what is special in a login as %2F, %3F, %23 or %40)"
    _check_address(server, form)
    return url


def check_redis_url(url: SecretUrl) -> SecretUrl:
    """A Redis URL whose database is a number: of a word Redis's library makes database 0, without saying so."""
    address, _, query = url.get_secret_value().partition("?")
    scheme, _, rest = address.partition("://")
    database = "" if scheme == "unix" else rest.rpartition("@")[2].partition("/")[2]
    named = [value for name, _, value in (field.partition("=") for field in query.split("&")) if name == "db"]
    for text in (database, *named):
        if text and not (text.isascii() and text.isdigit()):
            raise ValueError(f"a database by its number, such as {scheme}://host:6379/0")
    return url


def check_place(place: str) -> str:
    """A folder, or a URL of storage: where that has a port, it can be one."""
    server = re.split("[/?#]", place.rpartition("://")[2], maxsplit=1)[0].rpartition("@")[2] if "://" in place else ""
    port = server.rpartition(":")[2] if ":" in server else ""
    if port.isdigit() and not 0 < int(port[:6]) <= MAX_PORT:
        raise ValueError(f"a folder or a URL, with a port from 1 to {MAX_PORT:,}")
    return place


def check_token(token: SecretStr) -> SecretStr:
    """A text that the header `Authorization: Bearer TOKEN` can carry as it is."""
    text = token.get_secret_value()
    if not _TOKEN.fullmatch(text) or len(text) > MAX_TOKEN_LENGTH:
        raise ValueError(
            f"at most {MAX_TOKEN_LENGTH:,} characters of printable ASCII without blanks: a header carries nothing else"
        )
    return token


def _check_address(address: str, form: str) -> None:
    if "://" in address:
        raise ValueError(f"{form}, without a scheme")
    if re.search(r"[\s;]", address):
        raise ValueError(f"{form}; blanks and semicolons separate none")
    if _is_ipv6(address):
        return
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, ""
    if not _HOST.fullmatch(host) or (colon and host != address and not port):
        raise ValueError(form)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= MAX_PORT):
        raise ValueError(f"{form}, with a port from 1 to {MAX_PORT:,}")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


Topic = Annotated[str, AfterValidator(check_topic)]
Group = Annotated[str, AfterValidator(check_group)]
Brokers = Annotated[str, AfterValidator(check_brokers)]
Host = Annotated[str, AfterValidator(check_host)]
Token = Annotated[SecretStr, AfterValidator(check_token)]
