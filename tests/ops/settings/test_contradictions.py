"""Settings that are right alone and cannot be together, or have no effect: each with key, line, found and expected."""

from pathlib import Path

import pytest

from patchline.ops.errors import Problem
from patchline.ops.settings.contradictions import contradictions, doubts
from patchline.ops.settings.file import read_settings
from patchline.ops.settings.parts import parts_of

LEAST = "recipes: {tile: {bank: tile}}\n"
LEARNS = "recipes: {tile: {bank: tile, learns: true}}\n"


def found(folder: Path, text: str) -> tuple[list[Problem], list[Problem]]:
    """The contradictions and the doubts of a file without other faults."""
    file = folder / "line.yaml"
    file.write_text(text)
    reading = read_settings(file)
    parts = parts_of(reading)
    return list(contradictions(parts, reading)), list(doubts(parts, reading))


def named(problems: list[Problem]) -> list[tuple[str, str]]:
    """The line and the key of each."""
    return [(problem.place.rpartition(":")[2], problem.key) for problem in problems]


@pytest.mark.parametrize(
    ("recipes", "topics", "keys"),
    [
        (LEAST, "results_topic: patchline.frames", ["kafka.results_topic"]),
        (LEAST, "frames_topic: patchline.results", ["kafka.frames_topic"]),
        (LEAST, "dead_letters_topic: patchline.frames", ["kafka.dead_letters_topic"]),
        (LEAST, "frames_topic: a, results_topic: a", ["kafka.results_topic"]),
        (LEAST, "results_topic: a, dead_letters_topic: a", []),
        (LEAST, "feedback_topic: patchline.frames", []),
        (LEARNS, "feedback_topic: patchline.frames", ["kafka.feedback_topic"]),
        (LEARNS, "feedback_replies_topic: patchline.feedback", ["kafka.feedback_replies_topic"]),
        (LEARNS, "generations_topic: patchline.results", ["kafka.generations_topic"]),
        (LEAST, "results_topic: patchline_frames", ["kafka.results_topic"]),
        (LEAST, "frames_topic: line.1, results_topic: line_1", ["kafka.results_topic"]),
    ],
)
def test_topics_that_feed_themselves_are_refused(tmp_path: Path, recipes: str, topics: str, keys: list[str]) -> None:
    """One frame would become records without end; names that differ in dots alone Kafka does not create."""
    problems, _ = found(
        tmp_path, f"{recipes}kafka:\n  bootstrap: b:1\n" + "".join(f"  {t}\n" for t in topics.split(", "))
    )
    assert [problem.key for problem in problems] == keys
    assert all("kafka." in problem.found and problem.expected for problem in problems)
    if keys:
        last = problems[-1]
        assert int(last.place.rpartition(":")[2]) >= 4, "the line of a key that was set, not of the section"


def test_without_brokers_topics_are_nobodys(tmp_path: Path) -> None:
    """Nothing is read or written then; that the keys have no effect is said."""
    problems, warnings = found(tmp_path, LEAST + "kafka: {results_topic: patchline.frames}\n")
    assert problems == []
    assert named(warnings) == [("2", "kafka.results_topic")]


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    """Results, the log and the journal of alarms each have a file of their own."""
    text = LEAST + "redis: {url: 'redis://h'}\nsinks: {jsonl: a}\nlog: {file: ./a}\nalarms: {journal: a}\n"
    problems, _ = found(tmp_path, text)
    assert named(problems) == [("4", "log.file"), ("5", "alarms.journal")]
    assert found(tmp_path, text.replace("jsonl: a", "jsonl: '-'").replace("./a", "b"))[0] == []


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("kafka: {bootstrap: b:1, password: x, username: u, ca_file: c}", ["username", "password", "ca_file"]),
        ("kafka: {bootstrap: b:1, security: SASL_PLAINTEXT, password: x, username: u, ca_file: c}", ["ca_file"]),
        ("kafka: {bootstrap: b:1, security: SASL_SSL, password: x, username: u, ca_file: c, mechanism: PLAIN}", []),
        ("alarms: {rejects: 2}", ["rejects"]),
        ("alarms: {rejects: 2}\nredis: {url: 'redis://h'}", []),
        ("redis: {prefix: 'x:'}", ["prefix"]),
        ("evidence: {keep_days: 3}", ["keep_days"]),
        ("evidence: {keep_days: 3, url: e}", []),
        ("evidence: {queue_bytes: 10, keep_bytes: 1048576, url: e}", ["queue_bytes", "keep_bytes"]),
        ("limits: {max_in_flight_bytes: 1048576}", ["max_in_flight_bytes"]),
        ("limits: {linger_s: 0.5}", []),
    ],
)
def test_what_has_no_effect_is_said(tmp_path: Path, text: str, keys: list[str]) -> None:
    """It works, and hardly as it was meant."""
    problems, warnings = found(tmp_path, f"{LEAST}{text}\n")
    assert problems == []
    assert [warning.key.rpartition(".")[2] for warning in warnings] == keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ["recipes.tile.learns"]),
        ("evidence: {url: e}", ["recipes.tile.learns"]),
        ("evidence: {url: e}\nkafka: {bootstrap: b:1}", []),
        ("evidence: {url: e}\nhttp: {token: sixteen-letters-and-more}", []),
        ("kafka: {bootstrap: b:1}", ["recipes.tile.learns"]),
    ],
)
def test_learning_needs_feedback_and_frames(tmp_path: Path, text: str, keys: list[str]) -> None:
    """Somebody must be able to confirm, and what is confirmed must be kept, or come along."""
    assert [warning.key for warning in found(tmp_path, f"{LEARNS}{text}\n")[1]] == keys


def test_a_deadline_shorter_than_the_wait_for_a_batch_is_said(tmp_path: Path) -> None:
    """A frame that waits for others is late then; and a folder of good images must be one."""
    text = "recipes:\n  tile:\n    bank: tile\n    deadline_s: 0.02\n    good_images: nowhere\n"
    assert named(found(tmp_path, text)[1]) == [("4", "recipes.tile.deadline_s"), ("5", "recipes.tile.good_images")]


def test_one_stream_under_two_names_is_said(tmp_path: Path) -> None:
    """Without showing its login."""
    camera = "{source: rtsp, recipe: tile, url: 'rtsp://admin:hunter2@cam/1'}"
    _, warnings = found(tmp_path, f"{LEAST}cameras:\n  a: {camera}\n  b: {camera}\n")
    assert named(warnings) == [("4", "cameras.b.url")]
    assert "hunter2" not in str(warnings)


def test_the_environment_counts_as_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that a variable sets is named by the variable."""
    monkeypatch.setenv("PATCHLINE__KAFKA__BOOTSTRAP", "b:1")
    monkeypatch.setenv("PATCHLINE__KAFKA__RESULTS_TOPIC", "patchline.frames")
    (problem,), _ = found(tmp_path, LEAST)
    assert problem.place == "environment PATCHLINE__KAFKA__RESULTS_TOPIC"


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ("token: sixteen-letters-and-more", "the token crosses the network to 0.0.0.0"),
        ("host: 10.0.0.7, tokens: {a: {token: sixteen-letters-and-more, roles: [viewer]}}", "the token crosses"),
        (
            "token: sixteen-letters-and-more, tokens: {a: {token: sixteen-other-letters, roles: [viewer]}}",
            "2 tokens cross the network to 0.0.0.0",
        ),
        ("host: 127.0.0.1, token: sixteen-letters-and-more", None),
        ("host: 10.0.0.7", None),
    ],
)
def test_tokens_in_the_clear_are_said(tmp_path: Path, http: str, said: str | None) -> None:
    """Whichever key they stand under, and never with one of them in the warning."""
    given = http if "host:" in http else f"host: 0.0.0.0, {http}"
    problems, warnings = found(tmp_path, f"{LEAST}http: {{{given}}}\n")
    assert problems == []
    assert named(warnings) == ([("2", "http.tls_certificate")] if said else [])
    assert (said or "") in "".join(warning.found for warning in warnings)
    assert "sixteen" not in str(warnings)
