"""A YAML file as plain data that remembers on which line every key stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patchline.ops.errors import Problem, SettingsError

KeyPath = tuple[str, ...]
MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_VALUES = 100_000
MAX_DEPTH = 32
"""How long a settings file may be, and to how many values and levels it may come with all aliases expanded."""
MAX_PROBLEMS = 100
"""So many of the problems of a file are told."""
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(slots=True)
class Document:
    """The content of a settings file; `lines` gives the line (from 1) of every key path in it."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> str:
        """`FILE:LINE` of a key; of the nearest key around it where it is not in the file."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read a settings file. What is wrong inside is collected in `problems`.

    Raises SettingsError where there is nothing to go on with: no file, no YAML, no mapping, or more than its bounds.
    """
    text = _text(path)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        document = Document(path)
        if root is None:
            return document
        if not isinstance(root, yaml.MappingNode):
            raise _unusable(f"{path}:{root.start_mark.line + 1}", "no keys", "sections such as `recipes:`")
        document.data = _Expansion(loader, document).mapping(root, (), ())
        return document
    except RecursionError as error:
        raise _unusable(str(path), "values nested too deep", f"at most {MAX_DEPTH} levels") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise _unusable(place, f"not YAML: {error.problem or error.context}"[:300], "valid YAML") from error
    except yaml.YAMLError as error:
        raise _unusable(str(path), "not YAML: it holds characters that text files do not", "valid YAML") from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise _unusable(
                str(path), f"more than {MAX_FILE_BYTES:,} bytes", "a YAML file with settings, which is shorter"
            )
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(str(path), "not text", "a YAML file in UTF-8") from error
    except OSError as error:
        raise _unusable(str(path), f"cannot be read ({error.strerror})", "a YAML file with settings") from error


def _unusable(place: str, found: str, expected: str) -> SettingsError:
    return SettingsError([Problem(place, "", found, expected)])


class _Expansion:
    """Nodes to values. Aliases are expanded, and a few lines of them can stand for more than any memory holds: what
    they come to is counted, and merged keys are looked up by name, so that they never multiply.
    """

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._doc = document
        self._values = 0
        self._merged: dict[int, Mapping[str, tuple[yaml.Node, yaml.Node]]] = {}

    def mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """The values of a mapping that stands at `path`, inside the nodes `above`."""
        above = (*above, node)
        values: dict[str, Any] = {}
        for name, (key_node, value_node) in self._pairs(node, path, ()).items():
            self._doc.lines[(*path, name)] = key_node.start_mark.line + 1
            values[name] = self._value(value_node, (*path, name), above)
        return values

    def _value(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            place = f"{self._doc.path}:{node.start_mark.line + 1}"
            raise _unusable(place, f"more than {MAX_VALUES:,} values once aliases are expanded", "fewer of them")
        if len(path) > MAX_DEPTH:
            place = f"{self._doc.path}:{node.start_mark.line + 1}"
            raise _unusable(place, f"values nested in more than {MAX_DEPTH} levels", "fewer of them")
        if any(node is other for other in above):
            self._complain(node, path, "an alias to itself", "a value")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, str(i)), (*above, node)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # such as the 45th of a month
            self._complain(node, path, f"a value that YAML cannot read ({error})", "text in quotes")
            return None

    def _find_duplicates(self, node: yaml.MappingNode, path: KeyPath) -> None:
        """Keys that a mapping gives twice; one that overrides a merged key is no duplicate."""
        first_line: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "a list or mapping as a key", "a name")
            elif key_node.value in first_line:
                found = f"given again (first on line {first_line[key_node.value]})"
                self._complain(key_node, (*path, key_node.value), found, "one value")
            else:
                first_line[key_node.value] = key_node.start_mark.line + 1

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]
    ) -> Mapping[str, tuple[yaml.Node, yaml.Node]]:
        """The nodes of key and value by the key's text: of what `<<` merges, the earlier first, then its own."""
        if (known := self._merged.get(id(node))) is not None:
            return known
        if any(node is other for other in above):
            return {}
        self._find_duplicates(node, path)
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif isinstance(key_node, yaml.ScalarNode):
                own[key_node.value] = (key_node, value_node)  # the text as written: `on:` is a key, not a truth value
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for other in reversed(dict.fromkeys(merged)):
            if isinstance(other, yaml.MappingNode):
                pairs |= self._pairs(other, path, (*above, node))
            else:
                self._complain(other, path, "`<<` with what is no mapping", "an alias to a mapping, or a list of such")
        self._merged[id(node)] = pairs = pairs | own
        return pairs

    def _complain(self, node: yaml.Node, path: KeyPath, found: str, expected: str) -> None:
        if len(self._doc.problems) >= MAX_PROBLEMS:
            return
        place = f"{self._doc.path}:{node.start_mark.line + 1}"
        self._doc.problems.append(Problem(place, ".".join(path), found, expected))
