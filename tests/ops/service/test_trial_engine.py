import pickle
from pathlib import Path

from patchline.ops.service.assembly import inspector_of, load_banks, trial_engine_of
from patchline.ops.settings.model import Settings
from tests.ops.conftest import texture


def test_the_engine_of_a_trial_judges_as_the_workers_own(bank: Path) -> None:
    """It travels to another process, holds the banks' places and no secrets, and gives the same inspection."""
    password = "a password of these tests"  # noqa: S105 - of a test
    settings = Settings.model_validate(
        {
            "recipes": {"tile": {"bank": str(bank)}},
            "kafka": {
                "bootstrap": "localhost:9092",
                "security": "SASL_PLAINTEXT",
                "username": "u",
                "password": password,
            },
            "engine": {"device": "cpu"},
        }
    )
    sent = pickle.dumps(trial_engine_of(settings))
    assert password.encode() not in sent
    elsewhere = pickle.loads(sent)("tile")  # noqa: S301 - of this test
    own = inspector_of(settings.engine, load_banks(settings))
    frame = ("tile", own.prepare("tile", texture(80, spot=True)))
    assert elsewhere.inspect([frame]) == own.inspect([frame])
