"""A real redis-server on a free port."""

from collections.abc import Sequence

from tests.services.process import Server, find_program, free_port, listens


class RedisServer(Server):
    """One redis-server. `stop` or `kill`, and `start_redis` again: the same address.

    Args:
        durable: keep data on disk (append-only file), so that a restart finds it. Else a restart is empty.
        options: further words for the command line.
    """

    def __init__(self, *, durable: bool = False, options: Sequence[str] = ()) -> None:
        super().__init__("redis")
        self.port = free_port()
        self._options = ["--save", "", "--appendonly", "yes" if durable else "no", *options]

    @property
    def url(self) -> str:
        """redis://… for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start_redis(self) -> None:
        """Start the server and wait until it listens."""
        program = find_program("redis-server", "redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", *self._options]
        self.start([program, *options, "--dir", str(self.directory)], lambda: listens(self.port), timeout_s=20)
