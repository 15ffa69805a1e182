"""How a client shows that it knows a password: Digest (RFC 7616) where a camera offers it, else Basic (RFC 7617)."""

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Sequence

from patchline.stream.cameras.rtsp.address import RtspAddress

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class Login:
    """Answers to the challenges of one connection. Nothing is sent unless it is asked for."""

    def __init__(self, address: RtspAddress) -> None:
        self._user, self._password = address.user, address.password
        self._digest: dict[str, str] | None = None
        self._basic = False
        self._uses = 0

    def challenged(self, challenges: Sequence[str]) -> bool:
        """Take up challenges (`WWW-Authenticate`); False where there is no answer, or no other than the last one."""
        if not self._user and not self._password:
            return False
        former = self._digest, self._basic
        offered = {kind.lower(): text for kind, _, text in (each.strip().partition(" ") for each in challenges)}
        if "digest" in offered:
            fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(offered["digest"])}
            if fields.get("algorithm", "MD5").upper() in ("MD5", "SHA-256"):
                same_nonce = former[0] is not None and former[0].get("nonce") == fields.get("nonce")
                if same_nonce or (former[0] is not None and fields.get("stale", "").lower() != "true"):
                    return False
                self._digest, self._uses = fields, 0
                return True
        self._basic = "basic" in offered
        return self._basic and not former[1]

    def header(self, method: str, url: str) -> str | None:
        """The value of `Authorization` for a request; None where nothing was asked for."""
        if self._digest is not None:
            return self._digest_header(self._digest, method, url)
        if self._basic:
            return "Basic " + b64encode(f"{self._user}:{self._password}".encode()).decode()
        return None

    def _digest_header(self, challenge: dict[str, str], method: str, url: str) -> str:
        algorithm = challenge.get("algorithm", "MD5").upper()
        hashing = hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5

        def hashed(text: str) -> str:
            return hashing(text.encode(), usedforsecurity=False).hexdigest()

        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        who, what = hashed(f"{self._user}:{realm}:{self._password}"), hashed(f"{method}:{url}")
        value = f'Digest username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{url}"'
        if "auth" in [each.strip() for each in challenge.get("qop", "").split(",")]:
            self._uses += 1
            count, ours = f"{self._uses:08x}", secrets.token_hex(8)
            value += f', qop=auth, nc={count}, cnonce="{ours}"'
            answer = hashed(f"{who}:{nonce}:{count}:{ours}:auth:{what}")
        else:
            answer = hashed(f"{who}:{nonce}:{what}")
        if "opaque" in challenge:
            value += f', opaque="{challenge["opaque"]}"'
        return f'{value}, algorithm={algorithm}, response="{answer}"'
