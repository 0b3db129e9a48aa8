"""Where the server listens, and by which names it may be called."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket

from vreid_jax.errors import InputError

SHORTEST_TOKEN = 16  # characters
DEFAULT_PORT = 8765
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
      host: name or number of an address of this machine.
      port: 0 for one that is free.
      token: what users sign in with; empty: nobody has to.

    Raises:
      InputError: for an address that others can reach without a token, a short token, or an impossible port.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str = ""

    def __post_init__(self):
        if not 0 <= self.port < 1 << 16:
            raise InputError(f"--port={self.port} must be from 0 to 65535, 0 for any that is free")
        if self.token and (len(self.token) < SHORTEST_TOKEN or not re.fullmatch(r"[!-~]+", self.token)):
            raise InputError(
                f"the token must have at least {SHORTEST_TOKEN} letters, digits or signs and no spaces: "
                '`python3 -c "import secrets; print(secrets.token_urlsafe())"` makes one'
            )
        if not self.is_local and not self.token:
            raise InputError(
                f"--host={self.host} can be reached by other machines: give a token with --token or VREID_TOKEN, or listen "
                "on 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the address."""
        return self.host in _LOCAL or _is_loopback(self.host)

    def may_be_called(self, name: str) -> bool:
        """Return whether a request may name this host in its header `Host`, whatever the port.

        A web page of somebody else may point its own name to this machine; its requests then bear that name.
        """
        host = name.rpartition(":")[0] if re.search(r":\d+$", name) else name
        host = host.removeprefix("[").removesuffix("]").lower().rstrip(".")
        if host in _LOCAL or _is_loopback(host):  # a number is what was typed, not a name that can point elsewhere
            return True
        if self.is_local:
            return False
        return _is_number(host) or host in {self.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}


def _is_loopback(host: str) -> bool:
    return _is_number(host) and ipaddress.ip_address(host).is_loopback


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
