"""The network an address belongs to: what is compared where a single address says too little or too much."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

IPV4_PREFIX_BITS: Final = 24
IPV6_PREFIX_BITS: Final = 48


def network_of(address: str) -> str | None:
    """The /24 of an IPv4 address or the /48 of an IPv6 one, as text; None for what is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ip_network((int(parsed), IPV6_PREFIX_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(ip_network((int(parsed), IPV4_PREFIX_BITS), strict=False))
