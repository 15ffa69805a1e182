from inspect import signature
from typing import get_type_hints

from patchline.stream.model import observer
from patchline.stream.model.observer import Fan, Observer

HOOKS = {name: hook for name, hook in vars(Observer).items() if not name.startswith("_")}


class Notes(Observer):
    """Notes every hook, whatever its name."""

    def __init__(self, name: str, notes: list[tuple[object, ...]]) -> None:
        for hook in HOOKS:
            setattr(self, hook, lambda *seen, hook=hook: notes.append((name, hook, *seen)))


def test_an_observer_watches_nothing_of_itself() -> None:
    """Every hook of the base takes its arguments, returns None and leaves nothing behind."""
    watcher = Observer()
    for name, hook in HOOKS.items():
        arguments = [object()] * (len(signature(hook).parameters) - 1)
        assert getattr(watcher, name)(*arguments) is None
    assert vars(watcher) == {}


def test_a_fan_tells_every_hook_to_every_observer_in_their_order() -> None:
    """No hook is left out, each keeps its arguments, and the first observer is told first."""
    notes: list[tuple[object, ...]] = []
    fan = Fan(Notes("a", notes), Notes("b", notes))
    assert len(HOOKS) >= 21
    for name, hook in HOOKS.items():
        arguments = [object() for _ in range(len(signature(hook).parameters) - 1)]
        getattr(fan, name)(*arguments)
        assert notes == [("a", name, *arguments), ("b", name, *arguments)]
        notes.clear()


def test_a_fan_of_nobody_is_silent() -> None:
    """A fan without observers takes what it is told."""
    Fan().ready(True)


def test_every_hook_says_what_its_arguments_are() -> None:
    """Hooks have annotations for all that they take, and return None."""
    for hook in HOOKS.values():
        hints = get_type_hints(hook, vars(observer))
        assert hints.pop("return") is type(None)
        assert set(hints) == set(signature(hook).parameters) - {"self"}
