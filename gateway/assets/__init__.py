"""Bytes with an identity: what clients upload, what jobs produce, and the links that let others read them."""

from gateway.assets.library import Assets, Minted, Received
from gateway.assets.signing import SignedPath, Signer
from gateway.assets.space import Space

__all__ = ["Assets", "Minted", "Received", "SignedPath", "Signer", "Space"]
