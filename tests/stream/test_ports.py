"""What plugs in: the worked example runs, and what is not a source or a sink is refused before the first frame."""

import asyncio
import doctest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import patchline.stream.ports as ports
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.outcome import Outcome
from patchline.stream.ports import Sink, Source, check_sink, check_source
from tests.stream.list_ports import ListSink, ListSource, endless
from tests.stream.scripted import ScriptedEngine, jpeg


def test_the_worked_example_does_what_it_says(tmp_path: Path) -> None:
    """The source and the sink of the docstring inspect three pictures and keep the reject."""
    for name, level in ((1, 50), (2, 200), (3, 50)):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(level))
    example = doctest.DocTestFinder(recurse=False).find(ports)[0]
    example.globs |= {"folder": tmp_path, "engine": ScriptedEngine()}
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.attempted > 10
    assert results.failed == 0


def with_methods(*names: str, kind: type = object) -> Any:
    """An object of a class that has methods of these names, and nothing else of its own."""

    async def method(self: object) -> None:
        """Do nothing."""

    return type("Plugged", (kind,), dict.fromkeys(names, method))()


SOURCE = ["__aiter__", "open", "close"]
REPLAYABLE = [*SOURCE, "begin_batch", "commit", "try_alone"]
SINK = ["open", "deliver", "close"]


@pytest.mark.parametrize("methods", [["__aiter__"], ["__aiter__", "aclose"], SOURCE, REPLAYABLE, [*SOURCE, "reopen"]])
def test_a_whole_source_is_taken(methods: list[str]) -> None:
    """An async iterator, a source, a replayable source: each with methods of its own besides, too."""
    check_source(with_methods(*methods))


def test_a_generator_and_a_list_are_sources() -> None:
    """What tests and users plug in without a thought."""
    check_source(endless())
    check_source(ListSource([]))
    check_sink(ListSink())


@pytest.mark.parametrize(
    ("methods", "named"),
    [
        (["open", "close"], "is no async iterator of frames: it has no method `__aiter__`"),
        (["__aiter__", "open"], "the source Plugged has no method `close`$"),
        (["__aiter__", "close"], "has no method `open`$"),
        (["__aiter__", "opne", "close"], "has no method `open`: found `opne`"),
        (["__aiter__", "opened", "clsoe", "open"], "has no method `close`: found `clsoe`"),
        (["__aiter__", "opn"], "has no method `open`: found `opn`"),
        ([*SOURCE, "comit"], "has no method `begin_batch`"),
        ([*SOURCE, "begin_batch", "comit", "try_alone"], "has no method `commit`: found `comit`"),
        ([*SOURCE, "beginbatch", "commit", "try_alone"], "has no method `begin_batch`: found `beginbatch`"),
        ([*SOURCE, "begin_batch", "commit", "try_alonee"], "has no method `try_alone`: found `try_alonee`"),
        ([*SOURCE, "begin_batch", "commit", "try-alone"], "has no method `try_alone`: found `try-alone`"),
        ([name for name in REPLAYABLE if name != "open"], "has no method `open`$"),
    ],
)
def test_a_source_that_lacks_a_method_is_refused(methods: list[str], named: str) -> None:
    """The missing method is named, and what was probably meant to be it."""
    with pytest.raises(ConfigError, match=named):
        check_source(with_methods(*methods))


@pytest.mark.parametrize(
    ("methods", "named"),
    [
        (["open", "close"], "the sink Plugged has no method `deliver`$"),
        (["open", "close", "delivre"], "has no method `deliver`: found `delivre`"),
        (["deliver", "close"], "has no method `open`"),
        (["deliver", "open"], "has no method `close`"),
        (SINK, "the sink Plugged has no `name`: expected a text"),
        ([*SINK, "name"], "has no `name`"),
    ],
)
def test_a_sink_that_lacks_something_is_refused(methods: list[str], named: str) -> None:
    """Its name too, for messages need it."""
    with pytest.raises(ConfigError, match=named):
        check_sink(with_methods(*methods))


def test_what_a_class_inherits_from_the_protocol_is_not_its_own() -> None:
    """A class that names its protocol as a base inherits methods that do nothing; they do not hide a misspelt one."""

    with pytest.raises(ConfigError, match="has no method `open`: found `opne`"):
        check_source(with_methods("opne", "__aiter__", "close", kind=Source))

    class Whole(Sink):
        @property
        def name(self) -> str:
            return "whole"

        async def open(self) -> None:
            """Connect."""

        async def deliver(self, outcomes: Sequence[Outcome]) -> None:
            """Take them."""

        async def close(self) -> None:
            """Disconnect."""

    check_sink(Whole())
    asyncio.run(Whole().open())
