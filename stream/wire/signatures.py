"""Signatures of feedback: Kafka tells a reader nothing of who wrote a record, so whoever wants to be known signs it.

The header `ce_signer` names a key, `ce_signature` is `hmac-sha256=` and the HMAC in hexadecimal of the key's name,
`ce_type`, `ce_id` and the value, each preceded by its length in bytes and a colon (`stream/wire/README.md` has it in
ten lines of Python). A signed record that is sent again is the same feedback, by its id, and changes nothing.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import Feedback
from patchline.stream.model.identity import Identity, Role
from patchline.stream.wire.cloudevents import Headers, Record, attributes_of
from patchline.stream.wire.feedback import FEEDBACK, feedback_record, read_feedback

SIGNER, SIGNATURE = "ce_signer", "ce_signature"
_ALGORITHM = "hmac-sha256="


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, and whose it is."""

    identity: Identity
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FeedbackKeys:
    """The keys of a service, by the name of their identity.

    Args:
        keys: whose signatures are known.
        sign_with: the key of this process; None: it signs nothing, and what it sends is anybody's.
        unsigned_learns: whether feedback without a signature is taken at all.
    """

    keys: Mapping[str, SigningKey] = field(default_factory=dict)
    sign_with: str | None = None
    unsigned_learns: bool = True

    def write(self, feedback: Feedback) -> Record:
        """Feedback as a record, signed where this process has a key.

        Without one the identity is left out: nobody could tell that it is true.
        """
        if self.sign_with is None:
            return feedback_record(msgspec.structs.replace(feedback, identity=None))
        key, value, headers = feedback_record(feedback)
        attributes = attributes_of(headers, [])
        signed = _signed(self.sign_with, attributes["ce_type"], attributes["ce_id"], value)
        signature = hmac.digest(self.keys[self.sign_with].secret, signed, "sha256").hex()
        signs = [(SIGNER, self.sign_with.encode()), (SIGNATURE, f"{_ALGORITHM}{signature}".encode())]
        return key, value, [*headers, *signs]

    def read(self, headers: Headers, value: bytes | None) -> Feedback:
        """The feedback in a record, with the identity that its signature proves; None where it has none.

        Raises:
            RecordError: it is no feedback, its signature is wrong, its key unknown or not for that, or it names an
                identity that nothing proves.
        """
        feedback = read_feedback(headers, value)
        attributes = attributes_of(headers, [])
        signer = attributes.get(SIGNER)
        if signer is None:
            if SIGNATURE in attributes:
                raise RecordError(f"the header {SIGNER} is missing, and there is a signature; expected a key's name")
            if feedback.identity is not None:
                raise RecordError(f"identity is {feedback.identity[:128]!r} without a signature; expected {SIGNER}")
            if not self.unsigned_learns:
                raise RecordError(f"the header {SIGNER} is missing, expected feedback that is signed")
            return feedback
        who = self._verified(signer, attributes, value or b"")
        if Role.WORKER in who.roles:
            return feedback
        if feedback.identity not in (None, who.name):
            raise RecordError(f"identity is {str(feedback.identity)[:128]!r}, expected {who.name!r}, which signed it")
        if not who.may((Role.OPERATOR,)):
            raise RecordError(f"the key {who.name!r} may not give feedback; expected one with the role operator")
        return msgspec.structs.replace(feedback, identity=who.name)

    def _verified(self, signer: str, attributes: Mapping[str, str], value: bytes) -> Identity:
        key = self.keys.get(signer)
        if key is None:
            raise RecordError(f"the header {SIGNER} is {signer[:128]!r}, expected the name of a key of feedback.keys")
        kind, _, given = attributes.get(SIGNATURE, "").partition("=")
        signed = _signed(signer, FEEDBACK, attributes.get("ce_id", ""), value)
        expected = hmac.digest(key.secret, signed, "sha256").hex()
        if f"{kind}=" != _ALGORITHM or not hmac.compare_digest(given.encode(), expected.encode()):
            raise RecordError(f"the header {SIGNATURE} is not that of the key {signer!r}; expected {_ALGORITHM}...")
        return key.identity


def _signed(signer: str, kind: str, name: str, value: bytes) -> bytes:
    parts = (signer.encode(), kind.encode(), name.encode("utf-8", "surrogateescape"), value)
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)
