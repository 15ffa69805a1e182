"""A module's text by bytes, as its syntax tree and its tokens place what they hold."""

import ast
import io
import tokenize
from bisect import bisect_left, bisect_right


class Source:
    """A module's text, tree and tokens. Offsets count bytes of UTF-8, as the tree's columns do."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.lines = text.split("\n")
        self._bytes = text.encode()
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line.encode()) + 1)
        self._tokens: list[tuple[int, int, str]] = []
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER, tokenize.STRING):
                row, column = token.start
                start = self._starts[row - 1] + len(self._prefix(row, column))
                self._tokens.append((start, start + len(token.string.encode()), token.string))
        self._token_starts = [start for start, _, _ in self._tokens]

    def _prefix(self, row: int, column: int) -> bytes:
        return self.lines[row - 1][:column].encode()

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """From where to where a node's text goes."""
        assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: PT018 # a parsed node has both
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, start: int, end: int) -> str:
        """The text between two offsets."""
        return self._bytes[start:end].decode()

    def line(self, offset: int) -> int:
        """The number of the line, from 1, that holds an offset."""
        return bisect_right(self._starts, offset)

    def between(self, left: ast.expr, right: ast.expr, operator: str) -> tuple[int, int]:
        """Where an operator of one or two words stands between its operands."""
        words = operator.split()
        first = bisect_left(self._token_starts, self.span(left)[1])
        until = bisect_left(self._token_starts, self.span(right)[0])
        for at in range(first, until):
            tokens = self._tokens[at : at + len(words)]
            if [word for _, _, word in tokens] == words:
                return tokens[0][0], tokens[-1][1]
        raise ValueError(f"no {operator} between {ast.unparse(left)} and {ast.unparse(right)}")

    def after_token(self, start: int) -> int:
        """Where the token after the one at an offset begins."""
        return self._token_starts[bisect_right(self._token_starts, start)]
