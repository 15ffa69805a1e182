"""Feedback over a worker's HTTP port."""

import asyncio
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from patchline.ops.errors import InputError, OpsError
from patchline.stream.model.feedback import Feedback, FeedbackReply, UpdatePreview


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
    await _request(url, token, "POST", "/feedback", msgspec.json.encode(feedback))
    while True:
        answer = await _request(url, token, "GET", f"/feedback/{feedback.feedback_id}")
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
    answer = await _request(url, token, "GET", f"/recipes/{quote(feedback.recipe)}/preview?{query}")
    if answer is None:
        raise OpsError(f"{url}: has no previews; expected a worker of this version")
    return msgspec.json.decode(answer, type=UpdatePreview)


async def _request(url: str, token: str | None, method: str, path: str, body: bytes | None = None) -> bytes | None:
    """The body of the answer; None for 404."""
    import msgspec

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url.rstrip("/") + path, data=body) as answer,
        ):
            content = await answer.read()
    except (aiohttp.ClientError, ValueError) as error:
        raise OpsError(f"{url}: {error or type(error).__name__}; expected a worker's HTTP port") from error
    if answer.status == 404 and method == "GET":
        return None
    if answer.status >= 400:
        try:
            text = msgspec.json.decode(content, type=dict[str, str])["error"]
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError):
            text = content.decode("utf-8", "replace").strip()
        raise (InputError if answer.status < 500 else OpsError)(f"{url}: {answer.status}: {text}")
    return content
