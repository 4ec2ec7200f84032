"""Assets over a real socket: uploading, deduplicating, minting, serving, deleting, and who may do what."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import blake3
import httpx

from tests.integration.assets import made as kit
from tests.integration.assets.conftest import Site

PICTURE = kit.picture()


def hash_of(data: bytes) -> str:
    return f"blake3:{blake3.blake3(data).hexdigest()}"


async def upload(client: httpx.AsyncClient, data: bytes = PICTURE, **changes: Any) -> httpx.Response:
    fields: dict[str, Any] = {"content_type": "image/png", "file_path": "photo.png", **changes}
    headers = fields.pop("headers", {})
    sent = {name: value for name, value in fields.items() if value is not None}
    return await client.post("/api/v2/assets", data=sent, files={"file": ("x.bin", data)}, headers=headers)


def faults_of(answer: httpx.Response) -> set[tuple[str, str]]:
    return {(fault["field"], fault["reason"]) for fault in answer.json()["error"]["details"]["faults"]}


async def test_an_upload_is_hashed_recorded_and_served(site: Site) -> None:
    answer = await upload(site.alice, tags=["input", "mine"], expected_hash=hash_of(PICTURE))
    asset = answer.json()
    assert answer.status_code == 201
    assert asset["hash"] == hash_of(PICTURE)
    assert asset["size_bytes"] == len(PICTURE)
    assert (asset["content_type"], asset["file_path"], asset["created_new"]) == ("image/png", "photo.png", True)
    assert asset["tags"] == ["input", "mine"]
    again = (await site.alice.get(f"/api/v2/assets/{asset['id']}")).json()
    assert {**again, "url": "", "url_expires_at": ""} == {
        **{key: value for key, value in asset.items() if key != "created_new"},
        "url": "",
        "url_expires_at": "",
    }
    content = await site.alice.get(f"/api/v2/assets/{asset['id']}/content")
    assert content.content == PICTURE
    assert content.headers["content-type"] == "image/png"
    assert content.headers["content-length"] == str(len(PICTURE))


async def test_the_fields_may_come_after_the_file_and_names_may_be_anything(site: Site) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="../say "hi".png"\r\n\r\n' + PICTURE + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file_path"\r\n\r\n' + "ordner/🦊.png".encode() + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="content_type"\r\n\r\nimage/png\r\n--b--\r\n'
    )
    answer = await site.alice.post(
        "/api/v2/assets", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["file_path"] == "ordner/🦊.png"


async def test_the_same_bytes_under_the_same_path_are_one_record(site: Site) -> None:
    first = await upload(site.alice, expires_in=100)
    second = await upload(site.alice, expires_in=5000)
    third = await upload(site.alice, expires_in=60)
    assert [answer.status_code for answer in (first, second, third)] == [201, 200, 200]
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    assert [answer.json()["created_new"] for answer in (first, second, third)] == [True, False, False]
    assert first.json()["expires_at"] < second.json()["expires_at"] == third.json()["expires_at"]


async def test_the_same_bytes_under_another_path_are_another_record_over_one_blob(site: Site) -> None:
    first, second = await upload(site.alice), await upload(site.alice, file_path="other.png")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["created_new"] is False
    assert len(site.made.blob_files()) == 1


async def test_a_path_means_what_was_put_there_last(site: Site) -> None:
    red, blue = kit.picture("red"), kit.picture("blue")
    first = (await upload(site.alice, red)).json()
    await upload(site.alice, blue)
    third = (await upload(site.alice, red)).json()
    assert third["id"] != first["id"]
    newest = await site.made.parts.assets.by_path(kit.ALICE, ["photo.png"])
    assert newest["photo.png"].id == third["id"]


async def test_what_another_tenant_has_is_as_new_as_what_nobody_has(site: Site) -> None:
    assert (await upload(site.alice)).json()["created_new"] is True
    other = await upload(site.bob)
    assert (other.status_code, other.json()["created_new"]) == (201, True)
    assert len(site.made.blob_files()) == 1


async def test_concurrent_uploads_of_the_same_bytes_all_succeed(site: Site) -> None:
    answers = await asyncio.gather(*(upload(site.alice, file_path=f"{n}.png") for n in range(10)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 10
    assert len(site.made.blob_files()) == 1


DECLARED: list[tuple[str, bytes, str]] = [
    ("image/png", kit.picture(kind="JPEG"), "image/jpeg"),
    ("application/octet-stream", PICTURE, "image/png"),
    ("application/octet-stream", b"BMW is a car", "application/octet-stream"),
    ("text/plain", b"BMW is a car", "text/plain"),
    ("image/png", b"<script>alert(1)</script>", "image/png"),
    ("Text/HTML; charset=utf-8", b"<p>", "text/html; charset=utf-8"),
    ("audio/mp4", b"\0\0\0\x20ftypisom", "audio/mp4"),
]


async def test_content_types(site: Site) -> None:
    for declared, data, kept in DECLARED:
        assert (await upload(site.alice, data, content_type=declared)).json()["content_type"] == kept, declared


# Bad input.


BAD_FIELDS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"file_path": "../../etc/passwd"}, ("file_path", "invalid_file_path")),
    ({"file_path": "/etc/passwd"}, ("file_path", "invalid_file_path")),
    ({"file_path": "a\\b.png"}, ("file_path", "invalid_file_path")),
    ({"file_path": "a\0b.png"}, ("file_path", "invalid_file_path")),
    ({"file_path": ""}, ("file_path", "invalid_file_path")),
    ({"file_path": "x" * 2000}, ("file_path", "invalid_file_path")),
    ({"file_path": None}, ("file_path", "missing_field")),
    ({"content_type": None}, ("content_type", "missing_field")),
    ({"content_type": "png"}, ("content_type", "invalid_content_type")),
    ({"content_type": "image/png\r\nX: y"}, ("content_type", "invalid_content_type")),
    ({"expected_hash": "12"}, ("expected_hash", "invalid_hash")),
    ({"expires_in": "59"}, ("expires_in", "invalid_value")),
    ({"expires_in": "604801"}, ("expires_in", "invalid_value")),
    ({"expires_in": "1e3"}, ("expires_in", "invalid_value")),
    ({"expires_in": "-60"}, ("expires_in", "invalid_value")),
    ({"tags": [""]}, ("tags", "invalid_value")),
    ({"tags": ["a\nb"]}, ("tags", "invalid_value")),
    ({"tags": ["a"] * 33}, ("tags", "too_many")),
    ({"file_paht": "x"}, ("file_paht", "unknown_field")),
    ({"file_path": ["a", "b"]}, ("file_path", "repeated_field")),
]


async def test_a_bad_field_is_refused_and_nothing_is_kept(site: Site) -> None:
    for changes, fault in BAD_FIELDS:
        answer = await upload(site.alice, **changes)
        assert answer.status_code == 422, changes
        assert answer.json()["error"]["code"] == "invalid_request", changes
        assert fault in faults_of(answer), changes
        assert site.made.blob_files() == [], changes


async def test_all_faults_come_at_once(site: Site) -> None:
    answer = await site.alice.post("/api/v2/assets", files={"expires_in": (None, "x"), "file_path": (None, "/x")})
    assert faults_of(answer) == {
        ("file", "missing_field"),
        ("content_type", "missing_field"),
        ("file_path", "invalid_file_path"),
        ("expires_in", "invalid_value"),
    }


async def test_a_refused_upload_takes_no_bytes_from_others(site: Site) -> None:
    asset = (await upload(site.bob)).json()
    assert (await upload(site.alice, file_path="/x")).status_code == 422
    assert (await site.bob.get(f"/api/v2/assets/{asset['id']}/content")).content == PICTURE


async def test_a_hash_that_does_not_match_is_a_conflict(site: Site) -> None:
    answer = await upload(site.alice, expected_hash=hash_of(b"something else"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "hash_mismatch")
    assert answer.json()["error"]["details"]["actual"] == hash_of(PICTURE)
    assert site.made.blob_files() == []


async def test_a_file_past_the_limit_is_refused(site: Site) -> None:
    assert (await upload(site.alice, bytes(1_000_000))).status_code == 201
    answer = await upload(site.alice, bytes(1_000_001))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert len(site.made.blob_files()) == 1


async def test_an_endless_file_without_a_length_is_cut_off(site: Site) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(40):
            yield bytes(100_000)

    answer = await site.alice.post(
        "/api/v2/assets", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    assert site.made.blob_files() == []


NO_FORMS: list[tuple[str, bytes]] = [
    ("application/json", b"{}"),
    ("multipart/form-data", b"x"),
    ("multipart/form-data; boundary=b", b"x"),
    ("multipart/form-data; boundary=b", b""),
    ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf'),
]


async def test_what_is_no_form_is_malformed(site: Site) -> None:
    for content_type, body in NO_FORMS:
        answer = await site.alice.post("/api/v2/assets", content=body, headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request"), content_type
        assert site.made.blob_files() == [], content_type


async def test_a_client_that_goes_away_leaves_nothing(site: Site) -> None:
    host, port = site.alice.base_url.host, site.alice.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /api/v2/assets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + kit.SECRETS["alice"].encode()
        + b"\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 900000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + bytes(200_000)
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    assert (await upload(site.alice, b"another")).status_code == 201
    assert len(site.made.blob_files()) == 1


async def test_an_idempotency_key_is_used_once(site: Site) -> None:
    headers = {"Idempotency-Key": "one"}
    assert (await upload(site.alice, file_path="/x", headers=headers)).status_code == 422
    assert (await upload(site.alice, headers=headers)).status_code == 201
    again = await upload(site.alice, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_key_reuse")
    assert (await upload(site.bob, headers=headers)).status_code == 201
    content = await site.alice.post("/api/v2/jobs", json={"workflow": {}}, headers=headers)
    assert content.json()["error"]["code"] == "invalid_workflow"


# From a hash.


async def test_minting_from_a_hash(site: Site) -> None:
    original = (await upload(site.alice)).json()
    body = {"hash": original["hash"], "file_path": "b.png", "tags": ["x"]}
    first = await site.alice.post("/api/v2/assets/from-hash", json=body)
    again = await site.alice.post("/api/v2/assets/from-hash", json={**body, "hash": original["hash"].upper()})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] != original["id"]
    assert (first.json()["content_type"], first.json()["created_new"]) == ("image/png", False)
    assert (await site.alice.get(f"/api/v2/assets/{first.json()['id']}/content")).content == PICTURE


async def test_a_hash_that_is_not_yours_is_as_unknown_as_any(site: Site) -> None:
    known = (await upload(site.alice)).json()["hash"]
    answers = [
        await site.bob.post("/api/v2/assets/from-hash", json={"hash": hash_})
        for hash_ in (known, hash_of(b"unknown"), "blake3:12", "nonsense")
    ]
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {(404, "blob_not_found")}
    assert answers[0].json() == answers[1].json()


BAD_HASH_ORDERS: list[Any] = [
    {},
    {"hash": 5},
    {"hash": "x" * 300},
    {"hash": hash_of(PICTURE), "file_path": "../x"},
    {"hash": hash_of(PICTURE), "expires_in": 59},
    {"hash": hash_of(PICTURE), "expires_in": True},
    {"hash": hash_of(PICTURE), "tags": "x"},
    {"hash": hash_of(PICTURE), "tags": [""]},
    {"hash": hash_of(PICTURE), "size": 1},
    [],
]


async def test_bad_orders_from_a_hash(site: Site) -> None:
    for body in BAD_HASH_ORDERS:
        await upload(site.alice)
        answer = await site.alice.post("/api/v2/assets/from-hash", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request"), body


async def test_looking_up_a_hash(site: Site) -> None:
    known = (await upload(site.alice)).json()["hash"]
    assert (await site.alice.head(f"/api/v2/assets/by-hash/{known}")).status_code == 200
    assert (await site.bob.head(f"/api/v2/assets/by-hash/{known}")).status_code == 404
    assert (await site.alice.head(f"/api/v2/assets/by-hash/{hash_of(b'?')}")).status_code == 404
    assert (await site.alice.head("/api/v2/assets/by-hash/nonsense")).status_code == 404
    assert (await site.stranger.head(f"/api/v2/assets/by-hash/{known}")).status_code == 401


# Serving.


async def test_ranges(site: Site) -> None:
    data = bytes(range(256)) * 20
    asset = (await upload(site.alice, data)).json()
    path = f"/api/v2/assets/{asset['id']}/content"
    part = await site.alice.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert part.headers["content-length"] == "10"
    tail = await site.alice.get(path, headers={"Range": "bytes=-5"})
    assert (tail.status_code, tail.content) == (206, data[-5:])
    several = await site.alice.get(path, headers={"Range": "bytes=0-1,5-6"})
    assert (several.status_code, several.content) == (200, data)
    beyond = await site.alice.get(path, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"


async def test_validators(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    path = f"/api/v2/assets/{asset['id']}/content"
    etag = (await site.alice.get(path)).headers["etag"]
    assert etag == f'"{asset["hash"].removeprefix("blake3:")}"'
    same = await site.alice.get(path, headers={"If-None-Match": f'"x", W/{etag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert (await site.alice.get(path, headers={"If-None-Match": '"x"'})).status_code == 200
    resumed = await site.alice.get(path, headers={"Range": "bytes=1-", "If-Range": etag})
    restarted = await site.alice.get(path, headers={"Range": "bytes=1-", "If-Range": '"x"'})
    assert (resumed.status_code, restarted.status_code) == (206, 200)


async def test_head_tells_without_bytes(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    answer = await site.alice.head(f"/api/v2/assets/{asset['id']}/content")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(PICTURE))
    assert answer.headers["accept-ranges"] == "bytes"


async def test_empty_files_are_files(site: Site) -> None:
    asset = (await upload(site.alice, b"", content_type="text/plain")).json()
    path = f"/api/v2/assets/{asset['id']}/content"
    answer = await site.alice.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert (await site.alice.get(path, headers={"Range": "bytes=0-"})).status_code == 416


SERVED: list[tuple[str, str]] = [
    ("image/png", "inline"),
    ("image/webp", "inline"),
    ("video/mp4", "inline"),
    ("audio/flac", "inline"),
    ("text/html", "attachment"),
    ("TEXT/HTML; charset=utf-8", "attachment"),
    ("image/svg+xml", "attachment"),
    ("application/xml", "attachment"),
    ("application/javascript", "attachment"),
    ("application/pdf", "attachment"),
    ("application/octet-stream", "attachment"),
    ("model/gltf-binary", "attachment"),
]


async def test_nothing_that_is_served_can_run_in_a_browser(site: Site) -> None:
    for content_type, kind in SERVED:
        asset = (await upload(site.alice, b"<script>alert(1)</script>", content_type=content_type)).json()
        answer = await site.alice.get(f"/api/v2/assets/{asset['id']}/content")
        assert answer.headers["x-content-type-options"] == "nosniff", content_type
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'", content_type
        assert answer.headers["content-disposition"].startswith(f"{kind}; "), content_type
        assert answer.headers["content-type"] == content_type.lower(), content_type


async def test_bytes_that_are_gone_are_an_error_not_a_cut_answer(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    (blob,) = site.made.blob_files()
    blob.unlink()
    answer = await site.alice.get(f"/api/v2/assets/{asset['id']}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "output_unavailable")


# Who may read.


async def test_a_signed_url_needs_no_key_until_it_ends(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    assert (await site.stranger.get(asset["url"])).content == PICTURE
    assert (await site.bob.get(asset["url"])).status_code == 404
    site.made.clock.ahead = 3599
    assert (await site.stranger.head(asset["url"])).status_code == 200
    site.made.clock.ahead = 3602
    late = await site.stranger.get(asset["url"])
    assert (late.status_code, late.json()["error"]["code"]) == (403, "forbidden")


async def test_a_signed_url_cannot_be_bent(site: Site) -> None:
    first, second = (await upload(site.alice)).json(), (await upload(site.alice, b"2", file_path="2")).json()
    bent = first["url"].replace(first["id"], second["id"])
    assert (await site.stranger.get(bent)).status_code == 403
    plain = first["url"].partition("?")[0]
    assert (await site.stranger.get(plain)).status_code == 401
    assert (await site.stranger.get(f"{plain}?expires=99999999999&signature=x")).status_code == 403


async def test_other_tenants_see_nothing(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    path = f"/api/v2/assets/{asset['id']}"
    assert (await site.bob.get(path)).status_code == 404
    assert (await site.bob.get(f"{path}/content")).status_code == 404
    assert (await site.bob.delete(path)).status_code == 404
    assert (await site.stranger.get(path)).status_code == 401
    assert (await site.alice.get(path)).status_code == 200


UNKNOWN_IDS: list[str] = ["x", "0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11", "%00", "a" * 500]


async def test_unknown_ids(site: Site) -> None:
    for asset_id in UNKNOWN_IDS:
        for answer in (
            await site.alice.get(f"/api/v2/assets/{asset_id}"),
            await site.alice.get(f"/api/v2/assets/{asset_id}/content"),
            await site.alice.delete(f"/api/v2/assets/{asset_id}"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), asset_id


# Deleting.


async def test_deleting_takes_the_bytes_with_the_last_record(site: Site) -> None:
    first = (await upload(site.alice)).json()
    second = (await upload(site.bob)).json()
    assert (await site.alice.delete(f"/api/v2/assets/{first['id']}")).status_code == 204
    assert (await site.alice.delete(f"/api/v2/assets/{first['id']}")).status_code == 404
    assert (await site.bob.get(f"/api/v2/assets/{second['id']}/content")).content == PICTURE
    assert (await site.bob.delete(f"/api/v2/assets/{second['id']}")).status_code == 204
    assert site.made.blob_files() == []


async def test_an_asset_that_a_job_needs_is_not_deleted(site: Site) -> None:
    asset = (await upload(site.alice)).json()
    reference = {"__type": "core/ASSET", "info": {"id": asset["id"]}}
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": reference}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    job = await site.alice.post("/api/v2/jobs", json={"workflow": workflow})
    assert job.status_code == 201, job.text
    refused = await site.alice.delete(f"/api/v2/assets/{asset['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "asset_in_use")
    await site.alice.post(f"/api/v2/jobs/{job.json()['id']}/cancel")
    assert (await site.alice.delete(f"/api/v2/assets/{asset['id']}")).status_code == 204


async def test_an_expired_asset_is_gone(site: Site) -> None:
    asset = (await upload(site.alice, expires_in=60)).json()
    site.made.clock.ahead = 61
    assert (await site.alice.get(f"/api/v2/assets/{asset['id']}")).status_code == 404
    assert (await site.alice.head(f"/api/v2/assets/by-hash/{asset['hash']}")).status_code == 404
    assert (await site.stranger.get(asset["url"])).status_code == 404


async def test_a_large_file_survives_the_way_there_and_back(site: Site) -> None:
    data = hashlib.shake_256(b"noise").digest(999_000)
    asset = (await upload(site.alice, data, content_type="application/x-noise")).json()
    assert asset["hash"] == hash_of(data)
    assert (await site.alice.get(f"/api/v2/assets/{asset['id']}/content")).content == data
