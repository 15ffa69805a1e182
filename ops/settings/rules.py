"""Rules of alarms that make no sense once the keys that they leave out are taken from elsewhere."""

from collections.abc import Iterator, Mapping

from patchline.ops.errors import Problem
from patchline.ops.settings.cameras import AlarmRuleSettings, Camera, RecipeSettings
from patchline.ops.settings.file import Reading
from patchline.ops.settings.process import AlarmSettings
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.errors import ConfigError


def alarm_rule_problems(
    recipes: Mapping[str, RecipeSettings],
    cameras: Mapping[str, Camera],
    alarms: AlarmSettings | None,
    reading: Reading,
) -> Iterator[Problem]:
    """A problem for each rule of a recipe or a camera that wants more rejects than it looks at frames.

    Args:
        recipes: those that fit the schema.
        cameras: likewise.
        alarms: the general rule; None where it does not fit the schema, and nothing can be told.
        reading: knows the places of keys.
    """
    if alarms is None:
        return
    general = alarms.to_config()
    of_recipes: dict[str, AlarmConfig] = {}
    for name, recipe in recipes.items():
        of_recipes[name], problem = _over(("recipes", name, "alarms"), recipe.alarms, general, reading)
        yield from problem
    for name, camera in cameras.items():
        base = of_recipes.get(camera.recipe, general)
        yield from _over(("cameras", name, "alarms"), camera.alarms, base, reading)[1]


def _over(
    path: tuple[str, ...], section: AlarmRuleSettings | None, base: AlarmConfig, reading: Reading
) -> tuple[AlarmConfig, list[Problem]]:
    if section is None:
        return base, []
    try:
        return section.over(base), []
    except ConfigError:
        rejects, window = section.rejects or base.k, section.window or base.n
        found = f"{rejects} rejects (k) among {window} frames (window, n); what is unset comes from elsewhere"
        return base, [Problem(reading.place(path), ".".join(path), found, "rejects at most window")]
