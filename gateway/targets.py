"""Where a webhook may go: into the world, never into our own network.

The address is looked at when a webhook is saved, and again at every send: the addresses that the
resolver then gives are the ones that are connected to, so a name cannot change its mind between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from chassis.errors import Invalid

RESOLVE_S = 5.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """The address is none that a webhook may go to."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the world; also what other addresses hide in themselves."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def parsed(url: str, *, anywhere: bool) -> SplitResult:
    """The parts of a URL that a webhook may have. Raises Invalid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _refused("url must be a URL") from None
    schemes = ("https", "http") if anywhere else ("https",)
    if parts.scheme not in schemes or not host or not url.isascii() or not url.isprintable():
        raise _refused(f"url must be an {' or '.join(schemes)} URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("url must have neither credentials nor a fragment")
    if any(sign.isspace() or sign == "\\" for sign in url):
        raise _refused("url must be a URL")
    return parts


async def check(url: str, *, anywhere: bool) -> None:
    """Raises Invalid for a URL that a webhook may not have; ``anywhere``: any address will do."""
    parts = parsed(url, anywhere=anywhere)
    if anywhere:
        return
    assert parts.hostname
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, parts.port or 443, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError):
        raise _refused(f"url: the name {parts.hostname[:255]} cannot be resolved") from None
    if not all(is_public(str(address[0])) for *_, address in found):
        raise _refused("url must not lead into a private network")


def _refused(message: str) -> Invalid:
    return Invalid("webhook_url_refused", message)


def refuse_literal(url: str, *, anywhere: bool) -> None:
    """Raises Refused for an IP address in a URL, which no resolver is asked about."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if not anywhere and not is_public(host):
        raise Refused("the address is in a private network")


class Resolver(AbstractResolver):
    """Gives public addresses only, of those that ``inner`` finds; one that is not spoils the
    whole name."""

    def __init__(self, inner: AbstractResolver, *, anywhere: bool) -> None:
        self._inner = inner
        self._anywhere = anywhere

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises Refused."""
        found = await self._inner.resolve(host, port, family)
        if not self._anywhere and not all(is_public(each["host"]) for each in found):
            raise Refused("the name leads into a private network")
        return found

    async def close(self) -> None:
        """Close the other one."""
        await self._inner.close()
