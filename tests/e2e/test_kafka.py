"""Frames of real tiles through a real broker and a real Redis into the real service, and everything they must yield."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.e2e import topics, traffic
from tests.e2e.line import ALARM, Line
from tests.e2e.service import Service, json_lines, patchline
from tests.e2e.traffic import CAMERAS, RECIPE, Sent
from tests.services.prometheus import PrometheusServer

pytestmark = pytest.mark.timeout(900)  # the fit and the evaluation are part of the first test


@pytest.fixture
async def redis(line: Line) -> AsyncIterator[Redis]:
    """A client of the Redis that the service uses."""
    client = Redis.from_url(line.redis_url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def evaluated(bank: Path, tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `patchline evaluate` says of every test tile, by its path under the data set."""
    out = tmp_path_factory.mktemp("evaluation")
    patchline("evaluate", bank, tiles, "--out", out)
    verdicts = json_lines((out / "verdicts.jsonl").read_text())
    return {str(Path(v["frame_id"]).relative_to(tiles)): v for v in verdicts}


async def test_every_frame_has_one_result_equal_to_evaluate(
    line: Line,
    redis: Redis,
    bank: Path,
    tiles: Path,
    evaluated: dict[str, dict[str, Any]],
    prometheus: Callable[..., PrometheusServer],
) -> None:
    """590 tiles from three cameras and 20 unreadable frames among them give 610 results, one a frame id.

    The tiles' verdicts and scores are those of `patchline evaluate` on the same files; the unreadable frames are
    `not_inspected` for their reasons, and their bytes are dead-lettered. The alarms are in Redis, the counts in
    Prometheus, and the service ends with 0 when told to.
    """
    judged = traffic.frames(traffic.tiles(tiles), tiles, seed=1)
    bad = traffic.unreadable(judged[0].value)
    sent = traffic.mixed(judged, bad)
    assert (len(judged), len(bad)) == (590, 20)

    with Service(line.settings(bank)) as service:
        service.run()
        metrics = prometheus(f"127.0.0.1:{service.port}")
        await traffic.produce(line.bootstrap, line.frames, sent)
        results = [r.json for r in await topics.read(line.bootstrap, line.results, 610)]
        dead = await topics.read(line.bootstrap, line.dead_letters, 20)

        assert Counter(r["frame_id"] for r in results) == Counter(s.frame_id for s in sent)
        by_id = {r["frame_id"]: r for r in results}
        said = ("verdict", "score", "threshold", "generation", "worst")
        different = [
            (s.frame_id, by_id[s.frame_id], evaluated[s.frame_id])
            for s in judged
            if any(by_id[s.frame_id][key] != evaluated[s.frame_id][key] for key in said)
        ]
        assert different == []
        assert {s.frame_id: (by_id[s.frame_id]["verdict"], by_id[s.frame_id].get("reason")) for s in bad} == {
            s.frame_id: ("not_inspected", s.reason) for s in bad
        }
        assert Counter((d.headers["ce_id"], d.value) for d in dead) == Counter((s.frame_id, s.value) for s in bad)

        await check_alarms(redis, line, judged, by_id)
        await check_metrics(metrics, service, results)
        assert await topics.committed(line.bootstrap, line.group, line.frames) == 610
        assert service.terminate() == 0, service.log


async def check_alarms(redis: Redis, line: Line, judged: Sequence[Sent], by_id: dict[str, dict[str, Any]]) -> None:
    """Each camera's first alarm was raised by the frame that completed its k rejects of n, and by no other."""
    expected = {}
    for camera in CAMERAS:
        verdicts = [(s.frame_id, by_id[s.frame_id]["verdict"]) for s in judged if s.camera == camera]
        expected[camera] = next(frame_id for frame_id, seen in _windows(verdicts) if seen >= ALARM["rejects"])
    raised: dict[str, list[str]] = defaultdict(list)
    for event in await events_of(redis, line):
        if event["change"] == "raised":
            raised[event["camera"]].append(event["frame_id"])
    # Nobody acknowledged, so a camera's alarm is one, however often its condition went and came back.
    assert raised == {camera: [frame_id] for camera, frame_id in expected.items()}


async def events_of(redis: Redis, line: Line) -> list[dict[str, Any]]:
    """Every event of the alarm stream, oldest first."""
    entries: Any = await redis.xrange(f"{line.prefix}alarms")  # [(id, fields)], text because of `decode_responses`
    return [json.loads(fields["event"]) for _, fields in entries]


def _windows(verdicts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    for index, (frame_id, verdict) in enumerate(verdicts):
        recent = verdicts[max(0, index + 1 - ALARM["window"]) : index + 1]
        if verdict == "reject":
            yield frame_id, sum(v == "reject" for _, v in recent)


async def check_metrics(metrics: PrometheusServer, service: Service, results: Sequence[dict[str, Any]]) -> None:
    """What Prometheus scraped counts every result once, by camera and outcome, and knows the bank."""
    counted = Counter((r["camera"], r["verdict"]) for r in results)

    def scraped() -> Counter[tuple[str, str]]:
        found = metrics.query("patchline_frames_total > 0")
        return Counter({(f["metric"]["camera"], f["metric"]["outcome"]): int(f["value"][1]) for f in found})

    await until(lambda: scraped() == counted, lambda: f"{scraped()} where {counted} was expected")
    for query, value in {
        "sum(patchline_frames_received_total)": 610,
        "sum(patchline_frames_dropped_total) or vector(0)": 0,
        f'patchline_bank_generation{{recipe="{RECIPE}"}}': 1,
        'patchline_stage_seconds_count{stage="end_to_end"}': 610,
        "sum(patchline_not_inspected_total)": 20,
        "sum(patchline_alarms)": len(CAMERAS),
        "patchline_ready": 1,
        "up": 1,
    }.items():
        found = metrics.query(query)
        assert [float(f["value"][1]) for f in found] == [value], query
    assert service.status("/healthz") == 200


async def until(done: Callable[[], bool], otherwise: Callable[[], str], *, timeout_s: float = 30) -> None:
    """Wait for something that happens elsewhere."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not done():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(otherwise())
        await asyncio.sleep(0.1)


async def test_alarm_is_acknowledged_and_clears(
    line: Line, redis: Redis, bank: Path, tiles: Path, evaluated: dict[str, dict[str, Any]]
) -> None:
    """An alarm acknowledged by the command line clears with the passes; one whose passes came first clears when
    acknowledged by the documented Redis message.
    """
    passing = [p for p in traffic.tiles(tiles) if evaluated[str(p.relative_to(tiles))]["verdict"] == "pass"]
    rejected = [p for p in traffic.tiles(tiles) if evaluated[str(p.relative_to(tiles))]["verdict"] == "reject"]
    rejects, passes = ALARM["rejects"], ALARM["passes"]
    left, middle, right = CAMERAS

    def some(paths: Sequence[Path], camera: str, count: int, label: str) -> list[Sent]:
        return [
            Sent(frame_id=f"{label}-{camera}-{i}", camera=camera, value=p.read_bytes())
            for i, p in enumerate(paths[:count])
        ]

    async def states() -> dict[str, str | None]:
        found = {camera: await redis.hget(f"{line.prefix}alarm:{camera}", "state") for camera in CAMERAS}
        return {camera: None if state is None else str(state) for camera, state in found.items()}

    async def reach(expected: dict[str, str | None]) -> None:
        deadline = asyncio.get_running_loop().time() + 30
        while (found := await states()) != expected:
            assert asyncio.get_running_loop().time() < deadline, f"{found} where {expected} was expected"
            await asyncio.sleep(0.1)

    with Service(line.settings(bank)) as service:
        service.run()
        live = redis.pubsub()
        await live.subscribe(f"{line.prefix}alarms:live")
        await traffic.produce(
            line.bootstrap,
            line.frames,
            [*some(rejected, left, rejects, "a"), *some(rejected, middle, rejects, "a"), *some(passing, right, 3, "a")],
        )
        await topics.read(line.bootstrap, line.results, 2 * rejects + 3)
        calm = (await states())[right]
        await reach({left: "unacknowledged", middle: "unacknowledged", right: calm})

        patchline("alarms", "ack", left, "--operator", "ada", "--settings", service.settings_file)
        await reach({left: "acknowledged", middle: "unacknowledged", right: calm})
        more = [*some(passing, left, passes, "b"), *some(passing, middle, passes, "b")]
        await traffic.produce(line.bootstrap, line.frames, more)
        await reach({left: "normal", middle: "returned", right: calm})
        await redis.xadd(f"{line.prefix}alarms:ack", {"camera": middle, "operator": "grace"})
        await reach({left: "normal", middle: "normal", right: calm})

        events = await events_of(redis, line)
        changes = {c: [e["change"] for e in events if e["camera"] == c] for c in (left, middle, right)}
        assert changes == {
            left: ["raised", "acknowledged", "cleared"],
            middle: ["raised", "returned", "acknowledged", "cleared"],
            right: [],
        }
        heard = []
        while (message := await live.get_message(timeout=1)) is not None:
            if message["type"] == "message":
                heard.append(json.loads(message["data"]))
        assert heard == events
        await live.aclose()  # type: ignore[no-untyped-call]  # redis has types for all but this
        assert service.terminate() == 0, service.log


async def test_drained_service_leaves_no_frame_behind(line: Line, bank: Path, tiles: Path) -> None:
    """SIGTERM amid frames: what was read is finished and committed, exit status 0; the next run does the rest, once."""
    sent = traffic.frames(traffic.tiles(tiles)[::2], tiles, seed=2)
    with Service(line.settings(bank)) as service:
        service.run()
        await traffic.produce(line.bootstrap, line.frames, sent)
        await topics.read(line.bootstrap, line.results, 10, settle_s=0.1)
        assert service.terminate() == 0, service.log
    settled = await topics.committed(line.bootstrap, line.group, line.frames)
    written = len(await topics.read(line.bootstrap, line.results, settled))
    assert written == settled
    assert settled < len(sent), "the service was too quick to be stopped amid its work"

    with Service(line.settings(bank)) as service:
        service.run()
        results = await topics.read(line.bootstrap, line.results, len(sent))
        assert service.terminate() == 0, service.log
    assert Counter(r.json["frame_id"] for r in results) == Counter(s.frame_id for s in sent)
    assert await topics.committed(line.bootstrap, line.group, line.frames) == len(sent)
