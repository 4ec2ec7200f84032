"""Signed links: who changes anything about one gets nothing."""

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.assets import signing

SECRET = b"0123456789abcdef"


def parts_of(path: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(path).query)
    return query["expires"][0], query["signature"][0]


def test_a_link_works_until_it_ends() -> None:
    signer = signing.Signer(SECRET, seconds=3600)
    signed = signer.sign("a", now=1000.5)
    expires, signature = parts_of(signed.path)
    assert signed.path.startswith("/api/v2/assets/a/content?")
    assert signed.expires_at == 4600
    assert signer.allows("a", expires=expires, signature=signature, now=4599.9)
    assert not signer.allows("a", expires=expires, signature=signature, now=4600)


def test_nothing_about_a_link_can_be_changed() -> None:
    signer = signing.Signer(SECRET)
    expires, signature = parts_of(signer.sign("a", now=0).path)
    assert not signer.allows("b", expires=expires, signature=signature, now=0)
    assert not signer.allows("a", expires=str(int(expires) + 1), signature=signature, now=0)
    assert not signer.allows("a", expires=expires, signature=signature[:-1] + "A", now=0)
    assert not signing.Signer(b"another secret!!").allows("a", expires=expires, signature=signature, now=0)


@pytest.mark.parametrize("expires", ["", "-1", "1e9", "9" * 16, "٣", "x", "1 "])
def test_odd_times_are_no_links(expires: str) -> None:
    assert not signing.Signer(SECRET).allows("a", expires=expires, signature="x", now=0)


@pytest.mark.parametrize("signature", ["", "é", "\ud800", "a" * 1000])
def test_odd_signatures_are_no_links(signature: str) -> None:
    assert not signing.Signer(SECRET).allows("a", expires="99", signature=signature, now=0)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        signing.Signer(b"short")
