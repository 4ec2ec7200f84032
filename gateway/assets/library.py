"""Asset records over content-addressed blobs: taking bytes in, handing them out, forgetting them.

Everything is scoped by tenant. Two tenants may share a blob without either of them being able to tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from gateway import ports
from gateway.assets import guard, names, signing, space
from gateway.domain import errors, model
from gateway.domain.comfy import history
from gateway.domain.templates import media

_SHARED_SECONDS: Final = 900.0  #: blobs that were put so recently are left alone where others may use them
_AT_ONCE: Final = 500  #: hashes that the store is asked about at once
HEAD_BYTES: Final = 64  #: enough to tell what kind of file it is
_WEAK_SIGNS: Final = frozenset({"image/bmp", "audio/mpeg", "audio/aac"})  #: told by so few bytes that text may match


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes that are stored, and have no record yet."""

    hash: str
    size_bytes: int
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A record over bytes. `new_bytes`: this tenant had none over them; `new_record`: the record is fresh."""

    asset: model.Asset
    new_bytes: bool
    new_record: bool


class Assets:
    """Everything that the gateway does with assets."""

    def __init__(
        self,
        records: ports.Assets,
        blobs: ports.Blobs,
        *,
        clock: ports.Clock,
        new_id: ports.NewId,
        signer: signing.Signer,
        retention: float | None = None,
        free_disk: int = 0,
        shared: bool = False,
    ) -> None:
        """`retention`: seconds that an upload is kept unless it says otherwise; None for ever. `free_disk`: bytes that
        are to stay free. `shared`: other gateways put and delete blobs, too."""
        self._records = records
        self._blobs = blobs
        self._clock = clock
        self._new_id = new_id
        self._signer = signer
        self._retention = retention
        self._guard = guard.Guard(clock)
        self.space = space.Space(blobs, clock=clock, floor=free_disk)
        self._shared = shared
        self._spared: set[str] = set()  #: hashes that were to be deleted while somebody was about to use them

    # Taking bytes in.

    async def receive(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> Received:
        """Store a stream; PayloadTooLarge past `limit` bytes. Mint a record over it, or `discard` its hash."""
        head = _Head(chunks)
        with self._guard.putting() as deleted:
            try:
                stored = await self._blobs.put(head.chunks(), limit=limit)
            except errors.StoreUnavailable as error:
                self.space.failed(error.message)
                raise
            if stored.hash in deleted:
                raise errors.StoreUnavailable("these bytes were being deleted while they came in; send them again")
        return Received(hash=stored.hash, size_bytes=stored.size_bytes, head=bytes(head.head))

    async def mint(
        self,
        tenant: model.TenantId,
        received: Received,
        *,
        file_path: str | None,
        content_type: str,
        tags: Sequence[str] = (),
        expires_in: float | None = None,
        expected_hash: str | None = None,
        idempotency_key: str | None = None,
    ) -> Minted:
        """A record over received bytes; HashMismatch when they are not those that were promised.

        The same bytes under the same `file_path` and of the same type are one record, whose retention is extended.
        """
        if expected_hash is not None and expected_hash != received.hash:
            raise errors.HashMismatch(
                "the bytes do not have the hash that was declared",
                details={"expected": expected_hash, "actual": received.hash},
            )
        with self._guard.hold(received.hash):
            known = await self._records.by_hash(tenant, received.hash)
            now = self._clock()
            asset = model.Asset(
                id=model.AssetId(self._new_id()),
                tenant=tenant,
                hash=received.hash,
                size_bytes=received.size_bytes,
                content_type=_true_type(content_type, received.head),
                file_path=file_path,
                tags=tuple(dict.fromkeys(tags)),
                created_at=now,
                expires_at=self._expiry(now, expires_in),
            )
            return await self._record(asset, new_bytes=known is None, idempotency_key=idempotency_key)

    async def mint_from_hash(
        self,
        tenant: model.TenantId,
        hash_: str,
        *,
        file_path: str | None = None,
        tags: Sequence[str] = (),
        expires_in: float | None = None,
    ) -> Minted:
        """A record over bytes that this tenant has already; BlobNotFound."""
        with self._guard.hold(hash_):
            known = await self._records.by_hash(tenant, hash_)
            if known is None:
                raise errors.BlobNotFound("there are no bytes with this hash that you may use; upload them")
            now = self._clock()
            asset = model.Asset(
                id=model.AssetId(self._new_id()),
                tenant=tenant,
                hash=hash_,
                size_bytes=known.size_bytes,
                content_type=known.content_type,
                file_path=file_path or known.file_path,
                tags=tuple(dict.fromkeys(tags)),
                created_at=now,
                expires_at=self._expiry(now, expires_in),
                simulated=known.simulated,
            )
            return await self._record(asset, new_bytes=False)

    async def _record(self, asset: model.Asset, *, new_bytes: bool, idempotency_key: str | None = None) -> Minted:
        if asset.file_path is not None and not new_bytes:
            # The newest at that path, not any: a name shall mean what was put there last.
            same = (await self._records.by_path(asset.tenant, [asset.file_path])).get(asset.file_path)
            if same is not None and (same.hash, same.content_type) == (asset.hash, asset.content_type):
                kept = await self._records.extend(same.id, expires_at=asset.expires_at, idempotency_key=idempotency_key)
                return Minted(asset=kept, new_bytes=False, new_record=False)
        added = await self._records.add(asset, idempotency_key=idempotency_key)
        return Minted(asset=added, new_bytes=new_bytes, new_record=True)

    def _expiry(self, now: float, expires_in: float | None) -> float | None:
        seconds = self._retention if expires_in is None else expires_in
        return None if seconds is None else now + seconds

    async def keep_input(self, tenant: model.TenantId, data: bytes, *, content_type: str, suffix: str) -> model.Asset:
        """Bytes that came inside an order, or ship with a template, as an asset."""
        with self._guard.putting() as deleted:
            stored = await self._blobs.put_bytes(data)
            if stored.hash in deleted:
                stored = await self._blobs.put_bytes(data)
        received = Received(hash=stored.hash, size_bytes=stored.size_bytes, head=data[:HEAD_BYTES])
        return (await self.mint_input(tenant, received, content_type=content_type, suffix=suffix)).asset

    async def mint_input(self, tenant: model.TenantId, received: Received, *, content_type: str, suffix: str) -> Minted:
        """A record over bytes that belong to an order.

        Its path is made of its hash, so that the same bytes are one record and no client's file name means it.
        """
        path = f"inline/{received.hash.removeprefix('blake3:')[:32]}{suffix}"
        return await self.mint(tenant, received, file_path=path, content_type=content_type, tags=("inline",))

    async def keep_output(
        self,
        *,
        tenant: model.TenantId,
        job_id: model.JobId,
        node_id: str,
        name: str,
        index: int,
        expires_at: float,
        simulated: bool,
        chunks: AsyncIterator[bytes],
        text: bool = False,
    ) -> model.NewOutput:
        """Store what a node made. The record is written by whoever records the output, soon."""
        received = await self.receive(chunks)
        self._guard.remember(received.hash)
        content_type = "text/plain; charset=utf-8" if text else _output_type(name, received.head)
        return model.NewOutput(
            asset=model.Asset(
                id=model.AssetId(self._new_id()),
                tenant=tenant,
                hash=received.hash,
                size_bytes=received.size_bytes,
                content_type=content_type,
                file_path=name,
                created_at=self._clock(),
                expires_at=expires_at,
                job_id=job_id,
                simulated=simulated,
            ),
            node_id=node_id,
            name=name,
            type=model.OutputType.TEXT if text else history.type_of(content_type, name),
            index=index,
        )

    # Handing them out.

    async def get(self, tenant: model.TenantId, asset_id: str) -> model.Asset:
        """The tenant's asset; NotFound, also past its expiry."""
        return self._unexpired(await self._records.get(tenant, asset_id))

    async def get_signed(self, asset_id: str, *, expires: str, signature: str) -> model.Asset:
        """The asset that a signed link means; Forbidden when the link is not ours or has ended, NotFound."""
        if not self._signer.allows(asset_id, expires=expires, signature=signature, now=self._clock()):
            raise errors.Forbidden("this link is not valid any more; read the asset or job again for a fresh one")
        return self._unexpired(await self._records.find(asset_id))

    def _unexpired(self, asset: model.Asset) -> model.Asset:
        if asset.expires_at is not None and asset.expires_at <= self._clock():
            raise errors.NotFound("there is no such asset")
        return asset

    async def many(self, tenant: model.TenantId, asset_ids: Sequence[str]) -> Mapping[str, model.Asset]:
        """Those of these assets that are still there, past their expiry or not: a queued job may need them."""
        return await self._records.get_many(tenant, asset_ids) if asset_ids else {}

    async def usable(self, tenant: model.TenantId, asset_ids: Sequence[str]) -> Mapping[str, model.Asset]:
        """Those of these assets that a new order may use."""
        now = self._clock()
        found = await self.many(tenant, asset_ids)
        return {key: asset for key, asset in found.items() if asset.expires_at is None or asset.expires_at > now}

    async def by_hash(self, tenant: model.TenantId, hash_: str) -> model.Asset | None:
        """The tenant's newest asset over these bytes."""
        return await self._records.by_hash(tenant, hash_)

    async def by_path(self, tenant: model.TenantId, file_paths: Sequence[str]) -> Mapping[str, model.Asset]:
        """The tenant's newest upload at each of these paths that has one."""
        return await self._records.by_path(tenant, file_paths) if file_paths else {}

    def chunks(self, asset: model.Asset, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The asset's bytes, `start` to `end` (exclusive); OutputUnavailable when the blob is gone."""
        return self._blobs.read(asset.hash, start=start, end=end)

    def sign(self, asset: model.Asset, *, now: float) -> signing.SignedPath:
        """A fresh link to the asset's bytes that needs no credentials."""
        return self._signer.sign(asset.id, now=now)

    # Forgetting them.

    async def delete(self, tenant: model.TenantId, asset_id: str) -> None:
        """Delete the record, and the bytes when nothing else uses them; NotFound, AssetInUse."""
        freed = await self._records.delete(tenant, asset_id)
        if freed is not None:
            await self.discard([freed])

    async def discard_orphans(self, *, before: float) -> int:
        """Delete the blobs that were last put before that time and have no record; how many. Bytes that come again are
        put again, so what is about to be used is not old."""
        gone = 0
        async for hashes in self._blobs.old(before=before):
            for start in range(0, len(hashes), _AT_ONCE):
                unused = await self._records.unused(hashes[start : start + _AT_ONCE])
                gone += len(unused)
                await self.discard(unused)
        return gone

    async def discard(self, hashes: Iterable[str]) -> None:
        """Delete the blobs of these hashes that nothing uses, and those that an earlier call had to spare."""
        asked = [*dict.fromkeys([*hashes, *self._spared])]
        if not asked:
            return
        unused = await self._records.unused(asked)
        self._spared -= set(asked)
        for hash_ in unused:
            if self._guard.may_delete(hash_) and not await self._is_fresh(hash_):
                await self._blobs.delete(hash_)
            else:
                self._spared.add(hash_)

    async def _is_fresh(self, hash_: str) -> bool:
        """Whether another gateway may have put these bytes for a record that it is about to write."""
        if not self._shared:
            return False
        put_at = await self._blobs.put_at(hash_)
        return put_at is not None and self._clock() - put_at < _SHARED_SECONDS


class _Head:
    """Passes chunks on and keeps the first bytes."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.head = bytearray()

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if len(self.head) < HEAD_BYTES:
                self.head += chunk[: HEAD_BYTES - len(self.head)]
            yield chunk


def _true_type(declared: str, head: bytes) -> str:
    """What the client said, unless it said nothing, or one kind of picture where the bytes are another."""
    kind = media.sniff(head)
    if kind is None or kind.media_type in _WEAK_SIGNS:
        return declared
    pictures = declared.startswith("image/") and kind.family == "image"
    return kind.media_type if pictures or declared == names.GENERIC else declared


def _output_type(name: str, head: bytes) -> str:
    by_name = history.content_type_of(name)
    if by_name != names.GENERIC or PurePosixPath(name).suffix:
        return by_name
    kind = media.sniff(head)
    return by_name if kind is None else kind.media_type
