"""Where a server listens: on this machine alone, or for others, who then need a token."""

from __future__ import annotations

import ipaddress
import socket

from edgelm.errors import ResourceError, UsageError

_SHORTEST = 16


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which no other can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(host: str, token: str | None) -> str | None:
    """The token that requests need; None where they need none.

    Raises:
        UsageError: others can reach the address, and there is no token; or it is one that is guessed, or that no header
            can carry.
    """
    if not token:
        if not is_loopback(host):
            raise UsageError(
                f"{host} can be reached from other machines, and anyone could ask.",
                hint="Set EDGELM_SERVE_TOKEN to a secret that requests must carry, or listen on 127.0.0.1.",
            )
        return None
    if len(token) < _SHORTEST or not all("!" <= char <= "~" for char in token):
        raise UsageError(
            f"the token has fewer than {_SHORTEST} characters, or others than printable ASCII.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address, and does not listen yet.

    Raises:
        UsageError: there is no such address here.
        ResourceError: the port is taken, or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r:.80}: {error}.", hint="Give an address of this machine.") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise ResourceError(
            f"{host}, port {port}: {error.strerror or error}.", hint="Give another --port; 0 takes a free one."
        ) from error
    return found


def url_of(bound: socket.socket) -> str:
    """Where clients find it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
