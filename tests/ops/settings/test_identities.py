"""Tokens and keys in the settings: each is an identity, and those that contradict are found."""

from pathlib import Path

import pytest

from patchline.ops.service.preflight import check_settings
from patchline.ops.settings.file import load_settings, read_settings
from patchline.stream.model.identity import Identity, Role
from patchline.stream.wire.signatures import FeedbackKeys
from tests.ops.settings.test_model import LEAST, write

ONE, TWO = "the-first-of-two-tokens", "the-second-of-two-tokens"
KEY = "a-key-of-thirty-two-characters-or-more"


def test_each_token_is_an_identity_with_its_roles(tmp_path: Path) -> None:
    """Also one that lies in a file; `http.token` has all roles under a name of its own."""
    (tmp_path / "two").write_text(TWO + "\n")
    settings = load_settings(
        write(
            tmp_path,
            LEAST + f"http:\n  token: the-old-token-for-everything\n  tokens:\n"
            f"    tablet-1: {{token: {ONE}, roles: [operator]}}\n"
            "    board: {token_file: two, roles: [viewer, metrics]}\n",
        )
    )
    assert settings.http.identities() == {
        "the-old-token-for-everything": Identity("token", frozenset(Role)),
        ONE: Identity("tablet-1", frozenset({Role.OPERATOR})),
        TWO: Identity("board", frozenset({Role.VIEWER, Role.METRICS})),
    }
    assert {ONE, TWO, "the-old-token-for-everything"} <= {one.get_secret_value() for one in settings.all_secrets()}
    assert ONE not in f"{settings!r} {settings.model_dump_json()}"
    assert load_settings(write(tmp_path, LEAST)).http.identities() == {}


def test_keys_sign_and_are_known(tmp_path: Path) -> None:
    """The stream has each with its identity, which of them signs, and what becomes of what none has signed."""
    settings = load_settings(
        write(
            tmp_path,
            LEAST + f"feedback:\n  sign_with: line\n  unsigned: refuse\n  keys:\n"
            f"    line: {{key: {KEY}, roles: [worker]}}\n    ada: {{key: {KEY}-ada, roles: [operator]}}\n",
        )
    )
    made = settings.feedback.to_config()
    assert {name: (key.identity, key.secret) for name, key in made.keys.items()} == {
        "line": (Identity("line", frozenset({Role.WORKER})), KEY.encode()),
        "ada": (Identity("ada", frozenset({Role.OPERATOR})), f"{KEY}-ada".encode()),
    }
    assert (made.sign_with, made.unsigned_learns) == ("line", False)
    assert KEY in {one.get_secret_value() for one in settings.all_secrets()}
    assert load_settings(write(tmp_path, LEAST)).feedback.to_config() == FeedbackKeys()


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (f"http: {{tokens: {{a: {{token: {ONE}, roles: [owner]}}}}}}", "http.tokens.a.roles.0", ""),
        (f"http: {{tokens: {{a: {{token: {ONE}, roles: []}}}}}}", "http.tokens.a.roles", "at least one entry"),
        (f"http: {{tokens: {{a: {{token: {ONE}}}}}}}", "http.tokens.a.roles", "list"),
        ("http: {tokens: {a: {roles: [viewer]}}}", "http.tokens.a", "a token or a token_file"),
        ("http: {tokens: {a: {token: short, roles: [viewer]}}}", "http.tokens.a.token", "16 characters or more"),
        (f"http: {{tokens: {{a b: {{token: {ONE}, roles: [viewer]}}}}}}", "http.tokens.a b", "a name of 1 to 128"),
        (f"http: {{token: {ONE}, tokens: {{a: {{token: {ONE}, roles: [viewer]}}}}}}", "http", "a token of its own"),
        (f"http: {{token: {ONE}, tokens: {{token: {{token: {TWO}, roles: [viewer]}}}}}}", "http", "another name than"),
        ("feedback: {keys: {a: {roles: [operator]}}}", "feedback.keys.a", "a key or a key_file"),
        ("feedback: {keys: {a: {key: short, roles: [operator]}}}", "feedback.keys.a.key", "32 characters or more"),
        ("feedback: {sign_with: a}", "feedback", "sign_with to name one of keys with the role worker"),
        (f"feedback: {{sign_with: a, keys: {{a: {{key: {KEY}, roles: [operator]}}}}}}", "feedback", "the role worker"),
        ("feedback: {unsigned: perhaps}", "feedback.unsigned", "learn or refuse"),
    ],
)
def test_what_contradicts_is_named(tmp_path: Path, text: str, key: str, expected: str) -> None:
    """With its key and what was expected, and never with the secret."""
    (problem,) = read_settings(write(tmp_path, LEAST + text + "\n")).problems
    assert problem.key == key
    assert expected in problem.expected
    assert ONE not in str(problem)
    assert KEY not in str(problem)
    assert check_settings(tmp_path / "line.yaml").problems


def test_a_token_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable a key."""
    monkeypatch.setenv("PATCHLINE__HTTP__TOKENS__BOARD__TOKEN", ONE)
    monkeypatch.setenv("PATCHLINE__HTTP__TOKENS__BOARD__ROLES", '["viewer"]')
    found = load_settings(write(tmp_path, LEAST)).http.identities()
    assert found == {ONE: Identity("board", frozenset({Role.VIEWER}))}
