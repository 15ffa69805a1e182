"""A real Prometheus that scrapes one target often."""

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.services.process import Server, find_program, free_port


class PrometheusServer(Server):
    """One Prometheus on a free port; its data goes with it."""

    def __init__(self) -> None:
        super().__init__("prometheus")
        self.port = free_port()

    def scrape(self, target: str, *, rules: Path | None = None) -> None:
        """Start, scraping `target` (HOST:PORT) every half second, with a file of rules where given."""
        config = self.directory / "prometheus.yml"
        rule_files = f"rule_files: [{json.dumps(str(rules.resolve()))}]\n" if rules else ""
        config.write_text(
            "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
            f"{rule_files}"
            f"scrape_configs: [{{job_name: patchline, static_configs: [{{targets: [{json.dumps(target)}]}}]}}]\n"
        )
        options = [
            f"--config.file={config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self.start([find_program("prometheus", "prometheus"), *options], self._ready, timeout_s=30)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result vector of an instant query: `[{"metric": {...}, "value": [time_s, "value"]}, ...]`."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        result: list[dict[str, Any]] = found["data"]["result"]
        return result
