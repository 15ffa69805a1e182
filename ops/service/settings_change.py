"""What differs between the settings that run and those that were written since, and whether it can change meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patchline.ops.settings.cameras import RtspCamera
from patchline.ops.settings.model import Settings


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """Names of live cameras, and keys of what only a start takes."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.changed or self.removed or self.needs_restart)


def change_between(old: Settings, new: Settings) -> SettingsChange:
    """What differs.

    Live cameras can come, go and change while frames flow. All else is built into the parts that run: banks, rules of
    alarms, brokers, limits; and so are recordings and cameras of Kafka.
    """
    live_old, live_new = _live(old), _live(new)
    same_rules = {
        name for name in live_old.keys() & live_new.keys() if _rules(live_old[name]) == _rules(live_new[name])
    }
    differs = {name for name in same_rules if live_old[name] != live_new[name]}
    # An alarm's rule is known to parts that run on: of a camera that stays, comes or goes with one it is not changed.
    fixed = [
        f"cameras.{name}.alarms"
        for name in sorted(live_old.keys() | live_new.keys())
        if name not in same_rules and (_rules(live_old.get(name)) or _rules(live_new.get(name)))
    ]
    others = _without(old, live_old), _without(new, live_new)
    return SettingsChange(
        added=tuple(sorted(live_new.keys() - live_old.keys())),
        changed=tuple(sorted(differs)),
        removed=tuple(sorted(live_old.keys() - live_new.keys())),
        needs_restart=(*fixed, *_differences(*others)),
    )


def _live(settings: Settings) -> dict[str, RtspCamera]:
    return {name: camera for name, camera in settings.cameras.items() if isinstance(camera, RtspCamera)}


def _rules(camera: RtspCamera | None) -> Any:
    return camera.alarms if camera is not None else None


def _without(settings: Settings, live: Mapping[str, object]) -> dict[str, Any]:
    """All settings but live cameras, by section."""
    sections = {name: getattr(settings, name) for name in type(settings).model_fields}
    sections["cameras"] = {name: camera for name, camera in settings.cameras.items() if name not in live}
    return sections


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Keys whose values differ, never the values: some are secret."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys(), key=str):
            here = f"{path}.{name}" if path else str(name)
            if name not in old or name not in new:
                yield here
            else:
                yield from _differences(old[name], new[name], here)
    elif old != new:
        fields = getattr(type(old), "model_fields", None)
        if fields is None or type(old) is not type(new):
            yield path
        else:
            yield from _differences({n: getattr(old, n) for n in fields}, {n: getattr(new, n) for n in fields}, path)
