"""Where a webhook may go: the world, whatever name, number or disguise is given for home."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from chassis.errors import Invalid
from gateway import targets

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "not an address",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_our_own_is_not_public_in_any_disguise(address: str) -> None:
    assert not targets.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111"])
def test_an_address_of_the_world_is(address: str) -> None:
    assert targets.is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/x",
        "https://",
        "https:///path",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://[::1",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\nx",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "",
    ],
)
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        targets.parsed(url, anywhere=False)


def test_plain_http_is_for_rehearsals_only() -> None:
    assert targets.parsed("http://127.0.0.1:8000/x", anywhere=True).port == 8000
    with pytest.raises(Invalid):
        targets.parsed("ftp://127.0.0.1/x", anywhere=True)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254"),
        # 127.0.0.1 as one number, in octal, in hex, and shortened
        *("2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1"),
        *("10.1.2.3", "192.168.7.7", "[fd00::1]"),
    ],
)
async def test_a_url_into_our_own_network_cannot_be_saved(host: str) -> None:
    with pytest.raises(Invalid, match="private network"):
        await targets.check(f"https://{host}/hook", anywhere=False)


async def test_a_name_that_does_not_exist_cannot_be_saved() -> None:
    with pytest.raises(Invalid, match="cannot be resolved"):
        await targets.check("https://no-such-host.invalid/", anywhere=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "10.0.0.1"])
def test_an_address_in_a_url_is_looked_at_again_when_it_is_sent_to(host: str) -> None:
    with pytest.raises(targets.Refused):
        targets.refuse_literal(f"https://{host}:8443/x", anywhere=False)
    targets.refuse_literal(f"https://{host}:8443/x", anywhere=True)
    targets.refuse_literal("https://example.com/x", anywhere=False)


class _Rebinding(AbstractResolver):
    """A name server that gives another answer each time: first the world, then home."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_changes_its_mind_is_refused_when_it_is_sent_to() -> None:
    resolver = targets.Resolver(
        _Rebinding(["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]), anywhere=False
    )
    found = await resolver.resolve("rebind.example", 443)
    assert [each["host"] for each in found] == ["93.184.216.34"]
    for _ in range(2):
        with pytest.raises(targets.Refused):
            await resolver.resolve("rebind.example", 443)
