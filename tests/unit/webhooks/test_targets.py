"""Which addresses may be reached: a table."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.domain import targets

NOTHING = targets.Targets()
PRIVATE = targets.Targets(private=True)
HOME = targets.Targets(networks=(ipaddress.ip_network("192.168.1.0/24"), ipaddress.ip_network("169.254.169.254/32")))


def test_public_addresses_are_always_allowed() -> None:
    for text in ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"):
        assert NOTHING.refusal(ipaddress.ip_address(text)) is None, text


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
        *("::1", "fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::127.0.0.1"),
    ],
)
def test_private_addresses_need_permission(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert "private" in (NOTHING.refusal(address) or "")
    assert PRIVATE.refusal(address) is None


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("198.18.0.1", "100.100.100.200", "168.63.129.16", "::", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("fd00:ec2::254", "::127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:7f00:1::", "64:ff9b:1::7f00:1"),
    ],
)
def test_special_addresses_are_refused_even_where_private_ones_are_allowed(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert NOTHING.refusal(address)
    if not text.startswith("2002:7f00"):  # stands for a private one
        assert PRIVATE.refusal(address)


def test_a_network_that_is_named_is_allowed_and_no_other() -> None:
    for text in ("192.168.1.7", "169.254.169.254", "::ffff:192.168.1.7"):
        assert HOME.refusal(ipaddress.ip_address(text)) is None, text
    for text in ("192.168.2.7", "127.0.0.1", "169.254.1.1"):
        assert HOME.refusal(ipaddress.ip_address(text)), text


def test_a_host_that_is_an_address() -> None:
    assert str(targets.literal("127.0.0.1")) == "127.0.0.1"
    assert str(targets.literal("[::1]")) == "::1"
    assert str(targets.literal("fe80::1%eth0")) == "fe80::1"
    assert targets.literal("localhost") is None
    assert targets.literal("2130706433") is None  # the resolver reads it; it is judged then
