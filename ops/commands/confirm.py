"""`patchline confirm`: say what a frame shows, and see what the bank makes of it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchline.ops.commands._options import defects_in_words, examples
from patchline.ops.errors import InputError, OpsError

if TYPE_CHECKING:
    from patchline.stream.kafka.config import KafkaConfig
    from patchline.stream.model.feedback import Feedback, FeedbackReply, UpdatePreview
    from patchline.stream.wire.signatures import FeedbackKeys

CONFIRM_EXAMPLES = examples(
    "patchline confirm line-3/000042 --recipe bottle --good --operator ada --settings line.yaml",
    "patchline confirm line-3/000042 --recipe bottle --good --operator ada --url http://worker-1:9480 --dry-run",
    "patchline confirm line-3/000042 --recipe bottle --unlearn --operator bob --reason 'slip of the finger'",
)


def confirm(
    frame: Annotated[str, typer.Argument(help="Id of the frame.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe that judged it.", show_default=False)],
    good: Annotated[bool, typer.Option("--good", help="It shows a good part: learn it.")] = False,
    defect: Annotated[bool, typer.Option("--defect", help="It shows a defect: never hide it.")] = False,
    unlearn: Annotated[bool, typer.Option("--unlearn", help="It was confirmed by mistake.")] = False,
    operator: Annotated[str | None, typer.Option(help="Who says so.", show_default="the user")] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    approved_by: Annotated[str | None, typer.Option(help="Second person, for a frame that is held.")] = None,
    image: Annotated[Path | None, typer.Option(help="The frame's image, where no evidence of it is kept.")] = None,
    url: Annotated[str, typer.Option(envvar="PATCHLINE_URL", help="A worker.")] = "http://127.0.0.1:9480",
    token: Annotated[str | None, typer.Option(envvar="PATCHLINE_TOKEN", help="Its API token.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Go through the Kafka of this settings file instead.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Key of these settings (feedback.keys) that signs it.", show_default="none")
    ] = None,
    image_sha256: Annotated[
        str | None, typer.Option(help="SHA-256 of the image that was seen: of another nothing is learned.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do (over HTTP).")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Time for the answer, in seconds.")] = 60.0,
) -> None:
    """Confirm a frame as good or as a defect, or unlearn it; show what that does and what became of it.

    The exit status is 1 where the feedback is held or refused.
    """
    chosen = [name for name, on in (("confirm_good", good), ("confirm_defect", defect), ("unlearn", unlearn)) if on]
    if len(chosen) != 1:
        raise InputError(f"found {len(chosen)} of --good, --defect and --unlearn; expected one")
    if dry_run and settings is not None:
        raise InputError("--dry-run: asks a worker; expected --url instead of --settings")

    import getpass
    import uuid
    from datetime import UTC, datetime

    from patchline.ops.web.client import preview_feedback, send_feedback
    from patchline.stream.model.feedback import Feedback, FeedbackOutcome, FeedbackVerdict

    try:
        feedback = Feedback(
            feedback_id=uuid.uuid4().hex,
            recipe=recipe,
            frame_id=frame,
            verdict=FeedbackVerdict(chosen[0]),
            operator=operator or getpass.getuser(),
            time=datetime.now(UTC),
            reason=reason,
            approved_by=approved_by,
            image=image.read_bytes() if image is not None else None,
            image_sha256=image_sha256,
        )
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    if dry_run:
        _show(asyncio.run(preview_feedback(url, token, feedback)))
        return
    if settings is None:
        if key is not None:
            raise InputError("--key: signs what goes through Kafka; expected --settings with it")
        asked = send_feedback(url, token, feedback)
    else:
        asked = _over_kafka(*_kafka(settings, key), feedback)
    reply = asyncio.run(_answered(asked, timeout_s))
    if reply.preview is not None:
        _show(reply.preview)
    generation = f"; generation {reply.generation.number} judges" if reply.generation is not None else ""
    detail = f": {reply.detail}" if reply.detail else ""
    typer.echo(f"{reply.outcome.value}{detail}{generation}")
    if reply.outcome in (FeedbackOutcome.HELD, FeedbackOutcome.REFUSED):
        raise typer.Exit(1)


def _show(preview: "UpdatePreview") -> None:
    typer.echo(
        f"adds {preview.rows_added} rows, removes {preview.rows_removed}; "
        f"threshold {preview.threshold_before:.6g} -> {preview.threshold_after:.6g}; "
        f"clears {len(preview.cleared)} of the last {preview.rejects} rejects, "
        f"hides {len(preview.hidden)} of {preview.defects} known defects"
        + defects_in_words(preview.defect_ratios or {})
    )
    if preview.hold is not None:
        typer.echo(f"needs a second person: {preview.hold}")


async def _answered(asked: Any, timeout_s: float) -> "FeedbackReply":
    try:
        async with asyncio.timeout(timeout_s):
            reply: FeedbackReply = await asked
    except TimeoutError:
        raise OpsError(
            f"no answer within {timeout_s:g} s; the feedback is handed in, and may still be learned"
        ) from None
    return reply


async def _over_kafka(config: "KafkaConfig", keys: "FeedbackKeys", feedback: "Feedback") -> "FeedbackReply":
    from patchline.stream.kafka.feedback import KafkaFeedback

    inbox = KafkaFeedback(config, answers=False, keys=keys)
    await inbox.open()

    async def follow() -> None:
        async for _ in inbox.announced():
            pass

    following = asyncio.create_task(follow())
    try:
        await inbox.submit(feedback)
        while (reply := inbox.reply(feedback.feedback_id)) is None:
            if following.done():
                following.result()
            await asyncio.sleep(0.02)
        return reply
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await inbox.close()


def _kafka(settings: Path, key: str | None) -> "tuple[KafkaConfig, FeedbackKeys]":
    """The brokers of the settings, and their keys, of which one signs."""
    from dataclasses import replace

    from patchline.ops.settings.file import load_settings

    loaded = load_settings(settings)
    kafka, keys = loaded.kafka_config(), loaded.feedback.to_config()
    if kafka is None:
        raise InputError(f"{settings}: kafka.bootstrap: unset; expected the brokers, or --url of a worker")
    if key is not None and key not in keys.keys:
        raise InputError(f"--key {key!r}: not in {settings}; expected a name of feedback.keys")
    return kafka, replace(keys, sign_with=key)
