"""A real Apache Kafka broker (KRaft, one node). `python -m tests.services.kafka` fetches it; `... run` runs one."""

import fcntl
import os
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from tests.services.process import REPOSITORY, Server, ServiceUnavailableError, find_program, free_port, listens

VERSION = "4.1.1"
MESSAGE_MAX_BYTES = 34 * 2**20
"""A frame of 32 MiB with its headers."""
_POM = Path(__file__).with_name("pom.xml")
# One fixed version of the plugin: Maven's default for it changes with Maven.
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def fetch() -> Path:
    """The directory of Kafka's jars under `build/kafka`, fetched by Maven when they are not there yet.

    Raises:
        ServiceUnavailableError: no Maven, or it could not fetch them.
    """
    libs = REPOSITORY / "build" / "kafka" / f"libs-{VERSION}"
    libs.parent.mkdir(parents=True, exist_ok=True)
    with (libs.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = libs / ".complete"
        if not complete.exists():
            maven = find_program("mvn", "maven")
            command = [maven, "-q", "-B", "-f", str(_POM), _COPY, f"-DoutputDirectory={libs}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                raise ServiceUnavailableError(
                    f"Maven could not fetch Kafka {VERSION}:\n{done.stdout[-2000:]}{done.stderr}"
                )
            complete.touch()
    return libs


class KafkaBroker(Server):
    """One broker and controller in one process. `stop` and `start_broker` again keep its topics.

    Args:
        session_timeout_s: a machine that stalls for less does not have its only broker fenced. After `kill` the broker
            needs as long to start again: its registration is refused while the controller takes the one before for
            alive, and it gives up after 60 s.
    """

    def __init__(self, *, session_timeout_s: int = 60) -> None:
        super().__init__("kafka")
        self._session_timeout_s = session_timeout_s
        self.port, self._controller_port = free_port(), free_port()
        self.java = ["-cp", f"{fetch()}/*"]
        self.format_options: list[str] = []
        """Further arguments of the storage tool."""

    @property
    def bootstrap(self) -> str:
        """HOST:PORT for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def ports(self) -> list[int]:
        """Those of all listeners that clients have, which open one after the other."""
        return [self.port]

    def start_broker(self) -> None:
        """Start the broker, formatting its storage the first time."""
        java = find_program("java", "default-jre-headless")
        properties = self.directory / "server.properties"
        if not properties.exists():
            properties.write_text("".join(f"{key}={value}\n" for key, value in self.properties().items()))
            # A leading "-" would be taken for an option.
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")
            tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
            tool += self.format_options
            done = subprocess.run(
                [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", *self.java, *tool],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode != 0:
                raise ServiceUnavailableError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")
        # The better of Java's two compilers would still be compiling, on cores that are measured, when a test ends.
        options = ["-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self.start([java, *options, *self.java, "kafka.Kafka", str(properties)], lambda: all(map(listens, self.ports)))

    def properties(self) -> dict[str, object]:
        """What the broker is configured with."""
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.directory / "data",
            "num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "broker.session.timeout.ms": self._session_timeout_s * 1000,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            "message.max.bytes": MESSAGE_MAX_BYTES,
            "replica.fetch.max.bytes": MESSAGE_MAX_BYTES,
        }


def main() -> None:
    """Fetch the jars; with the argument `run`, also run a broker until interrupted and print its address."""
    print(fetch())
    if sys.argv[1:] == ["run"]:
        with KafkaBroker() as broker:
            broker.start_broker()
            print(f"KAFKA_BOOTSTRAP={broker.bootstrap} (process {os.getpid()}; Ctrl-C ends it)", flush=True)
            while True:
                time.sleep(60)


if __name__ == "__main__":
    main()
