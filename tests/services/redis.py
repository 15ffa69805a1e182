"""A real redis-server that keeps nothing on disk."""

from tests.services.process import Server, find_program, free_port, listens


class RedisServer(Server):
    """One redis-server on a free port. `stop` and `start_redis` again: the same address, empty."""

    def __init__(self) -> None:
        super().__init__("redis")
        self.port = free_port()

    @property
    def url(self) -> str:
        """redis://… for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start_redis(self) -> None:
        """Start the server and wait until it listens."""
        program = find_program("redis-server", "redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.start([program, *options, "--dir", str(self.directory)], lambda: listens(self.port), timeout_s=20)
