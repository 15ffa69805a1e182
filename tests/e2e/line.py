"""The names that one test's service works under."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.traffic import CAMERAS, RECIPE

ALARM = {"rejects": 3, "window": 10, "passes": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The names one test works under, so that tests share a broker and a Redis."""

    bootstrap: str
    redis_url: str
    frames: str
    results: str
    dead_letters: str
    group: str
    prefix: str

    def settings(self, bank: Path) -> dict[str, Any]:
        """The service's settings, but for its HTTP port."""
        return {
            "recipes": {RECIPE: {"bank": str(bank)}},
            "cameras": {camera: {"source": "kafka", "recipe": RECIPE} for camera in CAMERAS},
            "kafka": {
                "bootstrap": self.bootstrap,
                "frames_topic": self.frames,
                "results_topic": self.results,
                "dead_letters_topic": self.dead_letters,
                "group": self.group,
            },
            "redis": {"url": self.redis_url, "prefix": self.prefix},
            "alarms": ALARM,
        }
