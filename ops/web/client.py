"""Feedback over a worker's HTTP port."""

import asyncio
import ssl
from urllib.parse import quote, urlencode

import httpx
import msgspec

from patchline.ops.errors import InputError, OpsError
from patchline.stream.model.feedback import Feedback, FeedbackReply, UpdatePreview

TIMEOUT_S = 300.0
"""Of one request, as a preview may wait for learning that is under way."""


async def send_feedback(url: str, token: str | None, feedback: Feedback) -> FeedbackReply:
    """Send feedback to a worker and wait until its bank has taken it or refused it.

    Args:
        url: the worker's, `http://HOST:PORT`.
        token: its API token; None where it asks for none.
        feedback: what an operator says of a frame.

    Raises:
        InputError: the worker refuses the request, and says why.
        OpsError: the worker does not answer.
    """
    async with _worker(token) as worker:
        await _request(worker, url, "POST", "/feedback", msgspec.json.encode(feedback))
        while True:
            answer = await _request(worker, url, "GET", f"/feedback/{feedback.feedback_id}")
            if answer is not None:
                return msgspec.json.decode(answer, type=FeedbackReply)
            await asyncio.sleep(0.05)


async def preview_feedback(url: str, token: str | None, feedback: Feedback) -> UpdatePreview:
    """Ask a worker what learning a frame would change; nothing changes.

    Args:
        url: the worker's, `http://HOST:PORT`.
        token: its API token; None where it asks for none.
        feedback: what an operator says of a frame.

    Raises:
        InputError: the worker refuses the request, and says why.
        OpsError: the worker does not answer.
    """
    query = urlencode({"frame": feedback.frame_id, "verdict": feedback.verdict.value})
    async with _worker(token) as worker:
        answer = await _request(worker, url, "GET", f"/recipes/{quote(feedback.recipe)}/preview?{query}")
    if answer is None:
        raise OpsError(f"{url}: has no previews; expected a worker of this version")
    return msgspec.json.decode(answer, type=UpdatePreview)


def _worker(token: str | None) -> httpx.AsyncClient:
    """A client of a worker. Of the environment it takes nothing, neither proxy nor login: the token goes where the URL
    says.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(headers=headers, verify=ssl.create_default_context(), trust_env=False, timeout=TIMEOUT_S)


async def _request(
    worker: httpx.AsyncClient, url: str, method: str, path: str, body: bytes | None = None
) -> bytes | None:
    """The body of the answer; None for 404."""
    try:
        answer = await worker.request(method, url.rstrip("/") + path, content=body)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise OpsError(f"{url}: {str(error) or type(error).__name__}; expected a worker's HTTP port") from error
    if answer.status_code == 404 and method == "GET":
        return None
    if answer.status_code >= 400:
        try:
            text = msgspec.json.decode(answer.content, type=dict[str, str])["error"]
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError):
            text = answer.content.decode("utf-8", "replace").strip()
        raise (InputError if answer.status_code < 500 else OpsError)(f"{url}: {answer.status_code}: {text}")
    return answer.content
