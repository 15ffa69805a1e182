"""What is not mutated, since no test should hold it: logs, texts, types, and checks of the program by itself."""

import ast

_LOGGERS = frozenset({"logger", "_logger", "logging", "structlog", "warnings"})
_LOGS = frozenset({"log", "_log"})
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_LOG_HOOKS = frozenset({"retrying"})
"""Hooks of the stream's observer that only a log shows; the others count, and counts are promised."""
_TYPES = frozenset({"bool", "bytes", "dict", "float", "int", "list", "object", "set", "str", "tuple", "type"})


def is_log(node: ast.expr) -> bool:
    """Whether an expression only writes to a log."""
    call = node.value if isinstance(node, ast.Await) else node
    if not isinstance(call, ast.Call):
        return False
    names = _dotted(call.func)
    if names[-1] in _LOG_HOOKS or _LOGGERS & set(names):
        return True
    return names[-1] in _LEVELS and bool(_LOGS & set(names[:-1]))


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def is_protocol(node: ast.ClassDef) -> bool:
    """Whether a class only describes others, so that nothing of it runs."""
    return any("Protocol" in ast.unparse(base) for base in node.bases)


def guards_main(node: ast.If) -> bool:
    """Whether a condition is `if __name__ == "__main__"`."""
    return ast.unparse(node.test).startswith("__name__")


def aliases_types(node: ast.AnnAssign) -> bool:
    """Whether an assignment names a type."""
    return ast.unparse(node.annotation).endswith("TypeAlias")


def joins_text(node: ast.BinOp) -> bool:
    """Whether an operator joins or formats text."""
    return any(is_text(operand) for operand in (node.left, node.right))


def is_text(node: ast.expr) -> bool:
    """Whether an expression is text as it is written."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def joins_types(node: ast.BinOp) -> bool:
    """Whether `|` joins types."""
    return isinstance(node.op, ast.BitOr) and any(_is_type(operand) for operand in (node.left, node.right))


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    if isinstance(node, ast.Subscript):
        return _is_type(node.value)
    name = _dotted(node)[-1]
    return name in _TYPES or (name[:1].isupper() and not name.isupper())


def skipped_arguments(call: ast.Call) -> slice:
    """Which positional arguments of a call are visited: those that are types are not."""
    match _dotted(call.func)[-1]:
        case "isinstance" | "issubclass":
            return slice(1)
        case "cast":
            return slice(1, None)
        case "TypeVar" | "ParamSpec" | "NewType":
            return slice(0)
    return slice(None)


def skipped_keyword(keyword: ast.keyword) -> bool:
    """`strict=` of `zip` checks the program itself, as an assertion does; `stacklevel=` is a log's."""
    return keyword.arg in ("strict", "stacklevel")
