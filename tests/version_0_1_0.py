"""What version 0.1.0 wrote, under `tests/data/v0.1.0/`, and how it is compared with what is read from it now."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "v0.1.0"


def facts(name: str) -> Any:
    """The content of one of its JSON files."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def bytes_of(kept: Mapping[str, str]) -> bytes:
    """Bytes as the JSON files keep them: text where they are UTF-8, base64 where they are not."""
    return kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])


def known_then(found: Any, kept: Any) -> Any:
    """What is found, less the keys that were not there then: a later version may know more of a thing."""
    if isinstance(found, Mapping) and isinstance(kept, Mapping):
        return {name: known_then(inner, kept[name]) for name, inner in found.items() if name in kept}
    if isinstance(found, list | tuple) and isinstance(kept, list) and len(found) == len(kept):
        return [known_then(inner, outer) for inner, outer in zip(found, kept, strict=True)]
    return list(found) if isinstance(found, tuple) else found
