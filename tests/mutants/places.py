"""Where a module can be changed in one place so that it does something else, and the changed text."""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.mutants.operators import ARITHMETIC, COMPARISONS, NEGATED
from tests.mutants.place import Kind, Place
from tests.mutants.skipped import (
    aliases_types,
    guards_main,
    is_log,
    is_protocol,
    is_text,
    joins_text,
    joins_types,
    skipped_arguments,
    skipped_keyword,
)
from tests.mutants.source import Source


def places(source: str) -> list[Place]:
    """Every place of a module's text that can be changed, in the order of the text."""
    finder = _Finder(Source(source))
    finder.visit(finder.source.tree)
    return sorted(finder.found, key=lambda place: (place.start, place.end, place.kind))


class _Finder(ast.NodeVisitor):
    """Collects places. What it does not visit is not changed: annotations, decorators, imports, texts, logs."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Place] = []
        self._around: list[str] = []
        self._parents: list[ast.AST] = []

    def visit(self, node: ast.AST) -> None:
        """Visit a node, remembering what is around it."""
        self._parents.append(node)
        super().visit(node)
        self._parents.pop()

    def _add(self, kind: Kind, whole: tuple[int, int], part: tuple[int, int], new: str) -> None:
        """Note the change of a part of an expression or statement, which is shown whole."""
        source = self.source
        before, after = source.text(whole[0], part[0]), source.text(part[1], whole[1])
        self._note(kind, part, new, f"{_flat(source.text(*whole))}  ->  {_flat(before + new + after)}")

    def _note(self, kind: Kind, part: tuple[int, int], new: str, change: str) -> None:
        line = self.source.line(part[0])
        text = self.source.lines[line - 1].strip()
        self.found.append(Place(kind, ".".join(self._around), line, text, change, *part, new=new))

    def _visit_all(self, nodes: Sequence[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # Blocks: deleted statements and swapped order.

    def _block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if self._deletable(statement):
                span = self.source.span(statement)
                self._add(Kind.DELETED, span, span, "pass")
        for first, second in pairwise(body):
            if self._ordered(first, second):
                start, first_end = self.source.span(first)
                second_start, end = self.source.span(second)
                one, between, other = (
                    self.source.text(*span)
                    for span in ((start, first_end), (first_end, second_start), (second_start, end))
                )
                change = f"{_flat(one)}; {_flat(other)}  ->  {_flat(other)}; {_flat(one)}"
                self._note(Kind.SWAPPED, (start, end), other + between + one, change)
        self._visit_all(body)

    def _deletable(self, statement: ast.stmt) -> bool:
        """Calls, and assignments to what outlives the statement; in `__init__` those merely declare."""
        match statement:
            case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call())):
                return not is_log(statement.value)
            case ast.AugAssign():
                return True
            case (
                ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
                | ast.AnnAssign(target=ast.Attribute() | ast.Subscript(), value=ast.expr())
            ):
                return not (self._around and self._around[-1] == "__init__")
        return False

    def _ordered(self, first: ast.stmt, second: ast.stmt) -> bool:
        """Whether the order of two statements can matter: both have effects, outside or on something they share."""
        if not (self._deletable(first) and self._deletable(second)):
            return False
        if not (isinstance(first, ast.Expr) or isinstance(second, ast.Expr)):
            return False
        if all(isinstance(each, ast.Expr) and isinstance(each.value, ast.Await) for each in (first, second)):
            return True
        return bool(_names(first) & _names(second))

    # Definitions: bodies and defaults only.

    def visit_Module(self, node: ast.Module) -> None:
        self._block(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if not is_protocol(node):
            self._around.append(node.name)
            self._block(node.body)
            self._around.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._around.append(node.name)
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])
        self._block(node.body)
        self._around.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    # Statements with blocks.

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING") or guards_main(node):
            self._block(node.orelse)
            return
        self._condition(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self._condition(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._block(node.body)
        self._block(node.orelse)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self.visit_For(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self._visit_all([item.context_expr for item in node.items])
        self._block(node.body)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self.visit_With(node)

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        self._block(node.body)
        for handler in node.handlers:
            self._block(handler.body)
        self._block(node.orelse)
        self._block(node.finalbody)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(node)

    def visit_match_case(self, node: ast.match_case) -> None:
        if node.guard is not None:
            self._condition(node.guard)
        self._block(node.body)

    # Statements without.

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            self._visit_all([*node.targets, node.value])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not aliases_types(node):
            self._visit_all([node.target, node.value])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._operator(node, node.op, node.target, node.value, "=")
        self._visit_all([node.target, node.value])

    # Expressions.

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Call(self, node: ast.Call) -> None:
        if is_log(node):
            return
        self.visit(node.func)
        self._visit_all(node.args[skipped_arguments(node)])
        self._visit_all([keyword for keyword in node.keywords if not skipped_keyword(keyword)])

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            old, new = COMPARISONS[type(op)]
            part = self.source.between(left, right, old)
            self._add(Kind.COMPARISON, self.source.span(node), part, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not joins_text(node) and not joins_types(node):
            self._operator(node, node.op, node.left, node.right, "")
        self.generic_visit(node)

    def _operator(
        self, node: ast.BinOp | ast.AugAssign, op: ast.operator, left: ast.expr, right: ast.expr, suffix: str
    ) -> None:
        if type(op) in ARITHMETIC:  # a matrix product has no like
            old, new = ARITHMETIC[type(op)]
            part = self.source.between(left, right, old + suffix)
            self._add(Kind.ARITHMETIC, self.source.span(node), part, new + suffix)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, end = self.source.span(node)
        after = self.source.after_token(start)
        if isinstance(node.op, ast.Not):
            self._add(Kind.CONDITION, (start, end), (start, after), "")
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self._add(Kind.ARITHMETIC, (start, end), (start, after), "")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            if not is_text(right):  # a word said where there is none
                self._add(Kind.CONDITION, self.source.span(node), self.source.between(left, right, old), new)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self._visit_all([node.body, node.orelse])

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit(node.iter)
        for test in node.ifs:
            self._condition(test)

    def _condition(self, test: ast.expr) -> None:
        """A condition and its negation, unless a change inside is the same."""
        same = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if isinstance(test, ast.Compare):
            same = len(test.ops) == 1 and isinstance(test.ops[0], NEGATED)
        if not same:
            span = self.source.span(test)
            self._add(Kind.CONDITION, span, span, f"not ({self.source.text(*span)})")
        self.visit(test)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            new = str(not value)
        elif isinstance(value, int):
            new = str(value + 1)
        elif isinstance(value, float):
            new = repr(value * 2 if value else 1.0)
        else:
            return
        part = self.source.span(node)
        around = self._parents[-2]
        whole = self.source.span(around) if isinstance(around, ast.expr | ast.keyword) else part
        self._add(Kind.CONSTANT, whole, part, new)


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _names(node: ast.AST) -> set[str]:
    """What a statement mentions: names, and of `self` its attributes."""
    return set(_mentioned(node))


def _mentioned(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self":
            yield f"self.{each.attr}"
        elif isinstance(each, ast.Name) and each.id != "self":
            yield each.id
