"""A YAML file as plain data that remembers on which line every key stands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patchline.ops.errors import Problem, SettingsError

KeyPath = tuple[str, ...]


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

    Raises SettingsError where there is nothing to go on with: no file, no YAML, no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(str(path), "not text", "a YAML file in UTF-8") from error
    except OSError as error:
        raise _unusable(str(path), f"cannot be read ({error.strerror})", "a YAML file with settings") from error
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        document = Document(path)
        if root is None:
            return document
        if not isinstance(root, yaml.MappingNode):
            raise _unusable(f"{path}:{root.start_mark.line + 1}", "no keys", "sections such as `recipes:`")
        document.data = _to_values(loader, root, (), document, ())
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise _unusable(place, f"not YAML: {error.problem or error.context}", "valid YAML") from error
    except yaml.YAMLError as error:
        raise _unusable(str(path), "not YAML: it holds characters that text files do not", "valid YAML") from error


def _unusable(place: str, found: str, expected: str) -> SettingsError:
    return SettingsError([Problem(place, "", found, expected)])


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, doc: Document) -> Any:
    try:
        return loader.construct_object(node)
    except ValueError as error:  # such as the 45th of a month
        place = f"{doc.path}:{node.start_mark.line + 1}"
        doc.problems.append(
            Problem(place, ".".join(path), f"a value that YAML cannot read ({error})", "text in quotes")
        )
        return None


def _to_values(
    loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, doc: Document, above: tuple[yaml.Node, ...]
) -> Any:
    if any(node is other for other in above):
        doc.problems.append(Problem(doc.place(path), ".".join(path), "an alias to itself", "a value"))
        return None
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        return [_to_values(loader, item, (*path, str(i)), doc, above) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node, path, doc)
    first_line: dict[str, int] = {}
    for key_node, _ in node.value:  # before merge keys are flattened: an overridden merged key is no duplicate
        if isinstance(key_node, yaml.ScalarNode) and key_node.value in first_line:
            here, there = key_node.start_mark.line + 1, first_line[key_node.value]
            dotted = ".".join((*path, key_node.value))
            doc.problems.append(
                Problem(f"{doc.path}:{here}", dotted, f"given again (first on line {there})", "one value")
            )
        elif isinstance(key_node, yaml.ScalarNode):
            first_line[key_node.value] = key_node.start_mark.line + 1
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            place = f"{doc.path}:{key_node.start_mark.line + 1}"
            doc.problems.append(Problem(place, ".".join(path), "a list or mapping as a key", "a name"))
            continue
        name = str(key_node.value)  # the text as written: `on:` names a key, not a truth value
        doc.lines[(*path, name)] = key_node.start_mark.line + 1
        values[name] = _to_values(loader, value_node, (*path, name), doc, above)
    return values
