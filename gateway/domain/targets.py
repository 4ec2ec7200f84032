"""Which addresses a request that a client aims may reach. Pure: names are resolved elsewhere, and judged here.

Public unicast addresses are always allowed. Private ones (loopback, RFC 1918, carrier NAT, unique local) only where
the operator allows them: all, or some networks. Link-local addresses, those where clouds keep their metadata, and
other special ones are reached only through a network that names them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_CARRIER_NAT: Final = ipaddress.ip_network("100.64.0.0/10")
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"),
    )
)
#: Beside 169.254.169.254, which is link-local: Alibaba's, Azure's and AWS's.
_METADATA: Final = tuple(map(ipaddress.ip_network, ("100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128")))
_NAT64: Final = (ipaddress.ip_network("64:ff9b::/96"),)
#: Other IPv6 prefixes that carry an IPv4 address in their last 32 bits.
_CARRIERS: Final = tuple(map(ipaddress.ip_network, ("::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is allowed beside public addresses."""

    private: bool = False
    networks: tuple[Network, ...] = ()

    def refusal(self, address: Address) -> str | None:
        """Why this address may not be reached, in plain words; None when it may."""
        for one in _meant(address):
            if _in(one, self.networks):
                continue
            if _in(one, _METADATA):
                return f"{address} is where a cloud keeps its metadata"
            if _is_private(one):
                if not self.private:
                    return f"{address} is a private address"
            elif not _is_public(one):
                return f"{address} is a special address"
        return None


def literal(host: str) -> Address | None:
    """The address that a URL's host is, when it is one in the usual notation."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _meant(address: Address) -> Iterable[Address]:
    """The address, or the IPv4 ones that an IPv6 address stands for: what a translator would reach."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if _in(address, _NAT64):
        return (_last_32_bits(address),)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    if not address.is_loopback and not address.is_unspecified and _in(address, _CARRIERS):
        return (address, _last_32_bits(address))
    return (address,)


def _last_32_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_private(address: Address) -> bool:
    return _in(address, (*_PRIVATE, _CARRIER_NAT))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
