"""The settings: strict, explained, documented, and silent about secrets."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from patchline.ops.errors import SettingsError
from patchline.ops.service.preflight import check_settings
from patchline.ops.settings.file import load_settings, read_settings
from patchline.ops.settings.keys import ANY_NAME, all_keys
from patchline.ops.settings.model import Settings
from patchline.ops.settings.reference import NAMES_WITHIN, example, rows
from patchline.stream.kafka.batches import decompression
from tests.ops.conftest import patchline

LEAST = "recipes: {tile: {bank: tile}}\n"
SECRET = "hunter2-hunter2"  # noqa: S105 - made up


def write(folder: Path, text: str) -> Path:
    """A settings file."""
    file = folder / "line.yaml"
    file.write_text(text)
    return file


def test_example_holds_every_key_and_fits(tmp_path: Path) -> None:
    """The example file passes the schema, also with every comment sign before a key removed but the secrets'."""
    load_settings(write(tmp_path, example()))
    for key in all_keys():
        assert f"{key.path[-1]}: " in example(), key.dotted
    # Uncommented, every key but the second of each pair x / x_file is accepted.
    lines = [
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and _is_key(line) else line
        for line in example().splitlines()
        if "_file:" not in line or "ca_file" in line
    ]
    load_settings(write(tmp_path, "\n".join(lines)))


def _is_key(line: str) -> bool:
    name, colon, _ = line.lstrip("# ").partition(": ")
    return bool(colon) and name in {key.path[-1] for key in all_keys()} | NAMES_WITHIN.keys()


def test_documentation_holds_every_key() -> None:
    """`patchline settings` prints each key once with type, default, variable and meaning."""
    documented = {row.key for row in rows()}
    assert documented == {key.dotted for key in all_keys()}
    assert all(row.meaning and row.kind and row.default and row.env for row in rows())
    printed = patchline("settings").stdout
    assert all(row.key in printed for row in rows())


def test_settings_are_frozen_and_have_the_files_values(tmp_path: Path) -> None:
    """Values of the file are there, relative paths start at the file, and nothing can be assigned."""
    settings = load_settings(write(tmp_path, LEAST + "limits: {batch_size: 3}\nredis:\n"))
    assert settings.limits.batch_size == 3
    assert settings.recipes["tile"].bank == str(tmp_path / "tile")
    with pytest.raises(ValidationError):
        settings.limits.batch_size = 4


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("evidence", "{folder}/evidence"),
        ("../evidence", "{folder}/../evidence"),
        ("/srv/evidence", "/srv/evidence"),
        ("s3://bucket/evidence", "s3://bucket/evidence"),
    ],
)
def test_the_evidence_folder_starts_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, wanted: str
) -> None:
    """`evidence.url` without a scheme is a folder; like every relative path it starts from the file's folder."""
    folder = tmp_path / "settings"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    settings = load_settings(write(folder, LEAST + f"evidence: {{url: {url}}}\n"))
    assert settings.evidence.url == wanted.replace("{folder}", str(folder))


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATCHLINE__SECTION__KEY wins over the file, also inside a camera, and its mistakes are found there."""
    file = write(tmp_path, LEAST + "kafka: {bootstrap: file:1, group: g}\ncameras: {a: {source: rtsp, recipe: tile}}\n")
    monkeypatch.setenv("PATCHLINE__KAFKA__BOOTSTRAP", "env:2")
    monkeypatch.setenv("PATCHLINE__CAMERAS__A__URL", "rtsp://cam/1")
    settings = load_settings(file)
    assert (settings.kafka.bootstrap, settings.kafka.group) == ("env:2", "g")
    monkeypatch.setenv("PATCHLINE__KAFKA__GROPU", "x")
    monkeypatch.setenv("PATCHLINE__KAFAK__GROUP", "x")
    monkeypatch.setenv("PATCHLINE__HTTP__PORT", "many")
    said = {(p.place, p.key) for p in read_settings(file).problems}
    assert said == {
        ("environment PATCHLINE__KAFKA__GROPU", "kafka.gropu"),
        ("environment PATCHLINE__KAFAK__GROUP", "kafak"),
        ("environment PATCHLINE__HTTP__PORT", "http.port"),
    }


def test_all_problems_are_named_at_once_with_their_places(tmp_path: Path) -> None:
    """Schema and contents are checked together: each problem has its line, its key, and what was expected."""
    file = write(
        tmp_path,
        "recipes:\n  tile: {bank: nowhere}\ncameras:\n  a:\n    source: rstp\n    recipe: tile\n"
        "  b: {source: folder, path: nowhere, recipe: tiel}\nkafka:\n  bootstrp: x:1\n"
        "alarms: {rejects: 5, window: 3}\nhttp: {port: 99999}\nhttp: {}\n",
    )
    found = {(p.place.removeprefix(f"{file}:"), p.key, p.expected) for p in check_settings(file).problems}
    for line, key, expected in (
        ("2", "recipes.tile.bank", "patchline fit"),
        ("5", "cameras.a.source", "did you mean 'rtsp'?"),
        ("7", "cameras.b.recipe", "did you mean 'tile'?"),
        ("7", "cameras.b.path", "a folder of images"),
        ("9", "kafka.bootstrp", "did you mean 'bootstrap'?"),
        ("10", "alarms", "rejects (k) at most window (n)"),
        ("12", "http", "one value"),
    ):
        assert any(f[0] == line and f[1] == key and expected in f[2] for f in found), (line, key, found)
    done = patchline("check", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_compression_whose_library_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` would end at the first result; with the library every compression that is offered will do."""
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        file = write(tmp_path, f"{LEAST}kafka: {{compression: {compression}}}\n")
        assert "kafka.compression" not in {problem.key for problem in check_settings(file).problems}
    monkeypatch.setattr(decompression, "cramjam", None)
    (found,) = [problem for problem in check_settings(file).problems if problem.key == "kafka.compression"]
    assert found.place == f"{file}:2"
    assert "zstd, whose library is not installed" in found.found
    assert "aiokafka[snappy,lz4,zstd] to be installed" in found.expected


def test_tls_and_journal_of_alarms_are_checked(tmp_path: Path) -> None:
    """A certificate authority that is not there or not for TLS, and a journal in no folder, are named."""
    text = "redis: {url: 'REDIS://localhost', ca_file: nowhere.pem}\nalarms: {journal: nowhere/alarms.sqlite3}\n"
    for scheme, wanted in (
        ("rediss", {("redis.ca_file", "a PEM file"), ("alarms.journal", "a file in a folder that exists")}),
        ("redis", {("redis", "a url that begins with rediss://, because ca_file is set")}),
    ):
        problems = check_settings(write(tmp_path, text.replace("REDIS", scheme))).problems
        assert wanted <= {(problem.key, problem.expected) for problem in problems}, problems


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "a: [",
        "text\n",
        "recipes: &r {a: *r}\n",
        "recipes: {? [a] : 1}\n",
        "\x00",
        "recipes: 2026-13-45\n",
        "a: !!python/object:os.system {}\n",
        "recipes: {1: 2}",
    ],
)
def test_any_text_is_refused_with_a_message(tmp_path: Path, text: str) -> None:
    """What is no settings file is refused with its name, never with a traceback."""
    with pytest.raises(SettingsError, match=r"line\.yaml"):
        load_settings(write(tmp_path, text))


leaf = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats()
tree: st.SearchStrategy[Any] = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
sections = st.dictionaries(st.sampled_from(sorted(Settings.model_fields)) | st.text(max_size=8), tree, max_size=5)


@given(sections)
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    """Any YAML is either settings or a list of problems with a place and an expectation each."""
    file = write(tmp_path_factory.mktemp("any"), yaml.safe_dump(data))
    report = check_settings(file)
    assert (report.settings is None) <= bool(report.problems)
    assert all(p.place.startswith(str(file)) and p.expected for p in report.problems)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Neither repr, nor str, nor an error about the very value shows a password or a camera's login."""
    good = (
        LEAST + f"kafka: {{bootstrap: b:1, security: SASL_SSL, username: u, password: {SECRET}}}\n"
        f"redis: {{url: 'redis://:{SECRET}@host/0'}}\n"
        f"cameras: {{a: {{source: rtsp, recipe: tile, url: 'rtsp://admin:{SECRET}@cam/1?token={SECRET}'}}}}\n"
    )
    settings = load_settings(write(tmp_path, good))
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown
    assert "cam/1" in shown
    bad = good.replace("rtsp://", "http://").replace("redis://", "rdis://").replace("SASL_SSL", "SASL")
    report = check_settings(write(tmp_path, bad))
    assert len(report.problems) >= 3
    assert SECRET not in "\n".join(map(str, report.problems))
    done = patchline("check", tmp_path / "line.yaml")
    assert SECRET not in done.stdout + done.stderr


def test_a_value_that_is_cut_in_a_problem_shows_no_half_of_a_login(tmp_path: Path) -> None:
    """It is masked before it is cut."""
    url = f"http://admin:{SECRET}{'x' * 100}@cam/1"
    report = check_settings(write(tmp_path, LEAST + f"kafka: {{bootstrap: b:1, delivery: '{url}'}}\n"))
    (problem,) = [problem for problem in report.problems if problem.key == "kafka.delivery"]
    assert SECRET not in str(problem)
    assert "http://***@cam/1" in str(problem)


def test_a_token_that_crosses_the_network_in_the_clear_is_warned_of(tmp_path: Path) -> None:
    """The file is good, and `check` says so behind the warning; on this machine, or with TLS, there is none."""
    token = "a-long-random-text"  # noqa: S105 - made up
    report = check_settings(write(tmp_path, LEAST + f"http: {{host: 0.0.0.0, token: {token}}}\n"))
    (warning,) = report.warnings
    assert (warning.key, token in str(warning)) == ("http.tls_certificate", False)
    assert check_settings(write(tmp_path, LEAST + f"http: {{host: '::1', token: {token}}}\n")).warnings == []
    assert check_settings(write(tmp_path, LEAST + "http: {host: 0.0.0.0}\n")).warnings == []


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """`x_file` gives x without the newline at its end; both, or a file that is not there, is a problem."""
    (tmp_path / "pw").write_text(SECRET + "\n")
    settings = load_settings(write(tmp_path, LEAST + "redis: {url: 'redis://h', password_file: pw}\n"))
    assert settings.redis.password is not None
    assert settings.redis.password.get_secret_value() == SECRET
    for redis, expected in (
        ("{password: x, password_file: pw}", "not both"),
        ("{password_file: nowhere}", "a text file that can be read"),
    ):
        (problem,) = read_settings(write(tmp_path, LEAST + f"redis: {redis}\n")).problems
        assert expected in problem.expected


@pytest.mark.parametrize(
    "key", [key for key in all_keys() if not key.required and not key.variant], ids=lambda k: k.dotted
)
def test_every_key_can_be_set_by_its_variable(key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that the documentation names reaches its key: a value of the wrong kind is found under it."""
    name = key.env.replace("<NAME>", "TILE")
    is_list = key.kind.startswith("list")
    monkeypatch.setenv(name, "[]" if key.kind.startswith(("text", "path", "URL")) or is_list else "\N{SNOWMAN}")
    monkeypatch.setenv(f"{name}X", "1")
    dotted = key.dotted.replace(ANY_NAME, "tile")
    found = [p.key for p in read_settings(write(tmp_path, LEAST)).problems if p.place == f"environment {name}X"]
    assert found == [dotted + "x"]


def test_a_list_in_the_environment_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not is named by its variable, with what was expected."""
    name = "PATCHLINE__LIMITS__FRAME_REFERENCES"
    monkeypatch.setenv(name, '["/srv/frames"]')
    assert load_settings(write(tmp_path, LEAST)).limits.frame_references == ["/srv/frames"]
    monkeypatch.setenv(name, "/srv/frames")
    (problem,) = read_settings(write(tmp_path, LEAST)).problems
    assert (problem.place, problem.expected) == (f"environment {name}", 'a JSON list such as ["a", "b"]')


def test_a_place_for_evidence_that_nothing_here_knows_is_named(tmp_path: Path) -> None:
    """`run` would end there; folders and the URLs that can be written to will do."""
    for good in ("evidence", "file:///srv/evidence", "memory://evidence"):
        file = write(tmp_path, f"{LEAST}evidence: {{url: '{good}'}}\n")
        assert "evidence.url" not in {problem.key for problem in check_settings(file).problems}
    file = write(tmp_path, f"{LEAST}evidence: {{url: 'foo://bar'}}\n")
    (found,) = [problem for problem in check_settings(file).problems if problem.key == "evidence.url"]
    assert found.place == f"{file}:2"
    assert "foo" in found.found


def test_a_port_beyond_the_last_is_said_whole(tmp_path: Path) -> None:
    """What was expected names an address; nothing in it looks like a login that has to be masked."""
    file = write(tmp_path, f"{LEAST}redis: {{url: 'redis://h:99999/0'}}\n")
    (found,) = [problem for problem in check_settings(file).problems if problem.key == "redis.url"]
    assert found.expected.startswith("redis://host:port/...")
    assert found.expected.endswith("with a port from 1 to 65,535")
    assert "***" not in found.expected


def test_authorities_of_cameras_are_looked_for(tmp_path: Path) -> None:
    """A file that is not there is named with its camera."""
    file = tmp_path / "line.yaml"
    file.write_text("cameras: {one: {source: rtsp, recipe: r, url: 'rtsps://cam/1', ca_file: nowhere.pem}}\n")
    problems = {(problem.key, problem.found, problem.expected) for problem in check_settings(file).problems}
    assert ("cameras.one.ca_file", f"no file {tmp_path / 'nowhere.pem'}", "a PEM file") in problems
