"""Choosing a port to listen on."""

from __future__ import annotations

import errno
import socket

from chassis.errors import Unavailable

_TRIED = 50


def choose(host: str, port: int) -> int:
    """The port, or the next one that is free. Raises Unavailable: why none can be had."""
    last = min(port + _TRIED - 1, 65535)
    for candidate in range(port, last + 1):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            if error.errno == errno.EACCES:
                text = f"port {candidate} is for the superuser: choose one from 1024 on (--port)"
            else:
                text = f"cannot listen on {host}: no address of this machine (--host)"
            raise Unavailable(text) from None
        return candidate
    raise Unavailable(f"no free port between {port} and {last}: choose one with --port")


def url(host: str, port: int) -> str:
    """Where somebody on this machine finds what listens there."""
    reached = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
