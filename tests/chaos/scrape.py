"""What a running worker says of itself on its HTTP port: pages, and the metrics among them."""

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.chaos.crowd import Worker

TOKEN = "a-token-of-the-chaos-suite"  # noqa: S105 - of workers that live for a test
"""Of workers whose settings have one."""
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname, _UNVERIFIED.verify_mode = False, ssl.CERT_NONE


def port_of(worker: Worker) -> int:
    """The HTTP port that it took."""
    port = urlsplit(str(worker.logged("listening")[-1]["url"])).port
    assert port is not None
    return port


async def status(worker: Worker, path: str, *, timeout_s: float = 5) -> tuple[int, str]:
    """Status and text of a page; 0 and the error where nobody answers in time."""
    return await asyncio.to_thread(_status, worker, path, timeout_s)


def _status(worker: Worker, path: str, timeout_s: float) -> tuple[int, str]:
    scheme = urlsplit(worker.logged("listening")[-1]["url"]).scheme
    address = f"{scheme}://127.0.0.1:{port_of(worker)}{path}"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310 - this machine
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=_UNVERIFIED) as page:  # noqa: S310
            return int(page.status), page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


async def samples(worker: Worker) -> list[Sample]:
    """Every series with its value; none where metrics cannot be had."""
    code, text = await status(worker, "/metrics", timeout_s=30)
    if code != 200:
        return []
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def by_label(found: list[Sample], name: str, label: str) -> Mapping[str, float]:
    """The values of a metric, summed by one of its labels."""
    sums: dict[str, float] = {}
    for sample in found:
        if sample.name == name:
            value = sample.labels.get(label, "")
            sums[value] = sums.get(value, 0.0) + sample.value
    return sums
