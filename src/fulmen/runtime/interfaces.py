"""At which of its network interfaces processes of other hosts reach this one."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

from fulmen.base import environ
from fulmen.runtime.ports import LOOPBACK
from fulmen.runtime.rollcall import Presence

CHOSEN = "GLOO_SOCKET_IFNAME"
"""Where gloo listens; by default, at the address that this host's own name has here."""

GET_ADDRESS = 0x8915  # SIOCGIFADDR of linux/sockios.h


def let_gloo_be_reached(own: Presence, present: Sequence[Presence]) -> None:
    """Have gloo listen where other hosts find it, if this host's own name is of no use to them.

    On Debian, for one, it means 127.0.1.1 on the host itself.
    """
    elsewhere = [peer for peer in present if _host(peer) != _host(own)]
    if not elsewhere or environ.read(CHOSEN) is not None or _name_leads_here():
        return
    is_first = _host(own) == _host(present[0])  # which the others know, and which learns of them only now
    address = address_towards(elsewhere[0].address) if is_first else own.address
    interface = interface_with(address)
    if interface is not None:
        environ.write(CHOSEN, interface)


def address_towards(host: str | None) -> str | None:
    """This host's own address (IPv4) on the way to that one, to which nothing is sent; None without a way."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # any port will do
            return probe.getsockname()[0]
    except (OSError, TypeError):
        return None


def interface_with(address: str | None) -> str | None:
    """The name of the interface with this address; None where there is none, or no way to find out."""
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no address
                answer = fcntl.ioctl(asked, GET_ADDRESS, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _host(presence: Presence) -> tuple[str, int]:
    return presence.host, presence.node  # containers may all have one name


def _name_leads_here() -> bool:
    """Whether the address that gloo takes for this host's is one that leads here from elsewhere too."""
    try:
        named = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    own = (str(address[0]) for family, *_, address in named if _is_own(family, address))
    return not ipaddress.ip_address(next(own, LOOPBACK).partition("%")[0]).is_loopback


def _is_own(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
