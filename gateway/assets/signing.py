"""Links that carry their own permission, for a while: HMAC-SHA256 over the asset's id and the time they end."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

MIN_SECRET: Final = 16  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPath:
    """A path that can be read without credentials until `expires_at`; without the mount prefix."""

    path: str
    expires_at: float


class Signer:
    """Signs content paths with the gateway's own secret. Who changes the secret ends all links at once."""

    def __init__(self, secret: bytes, *, seconds: float = 3600.0) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret for links needs at least {MIN_SECRET} bytes")
        self._secret = secret
        self._seconds = seconds

    def sign(self, asset_id: str, *, now: float) -> SignedPath:
        """A fresh link to the asset's bytes."""
        expires = int(now + self._seconds)
        path = f"/api/v2/assets/{asset_id}/content?expires={expires}&signature={self._signature(asset_id, expires)}"
        return SignedPath(path=path, expires_at=float(expires))

    def allows(self, asset_id: str, *, expires: str, signature: str, now: float) -> bool:
        """Whether this is a link that we signed, and it has not ended."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 15):
            return False
        wanted = self._signature(asset_id, int(expires))
        return hmac.compare_digest(wanted.encode(), signature.encode(errors="replace")) and now < int(expires)

    def _signature(self, asset_id: str, expires: int) -> str:
        digest = hmac.digest(self._secret, f"{asset_id}\n{expires}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
