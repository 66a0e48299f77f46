"""Which network interface is named to gloo, and when."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest

from fulmen.runtime.interfaces import CHOSEN, address_towards, interface_with, let_gloo_be_reached
from fulmen.runtime.rollcall import Presence

LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows interfaces on Linux alone")


def presence(rank: int, host: str, node: int = 0) -> Presence:
    return Presence(rank=rank, local_rank=0, node=node, size=2, host=host, pid=1, mark=host, address=LOOPBACK)


def test_way_to_a_host() -> None:
    assert address_towards(LOOPBACK) == LOOPBACK
    assert address_towards("no.such.host.invalid") is None
    assert address_towards(None) is None


def test_interface_with_an_address() -> None:
    assert interface_with(LOOPBACK) == "lo"
    assert interface_with("192.0.2.1") is None  # kept free for examples
    assert interface_with(None) is None


@pytest.mark.parametrize("name_leads_to", [[], ["127.0.1.1"], ["192.0.2.1", "127.0.1.1"]], ids=str)
@pytest.mark.parametrize("other", [presence(1, "b"), presence(1, "a", node=1)], ids=["host", "node"])
def test_name_that_is_of_no_use_to_others(
    other: Presence, name_leads_to: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHOSEN, raising=False)
    resolve_to(monkeypatch, name_leads_to)
    let_gloo_be_reached(presence(0, "a"), [presence(0, "a"), other])
    assert os.environ.pop(CHOSEN) == "lo"
    let_gloo_be_reached(other, [presence(0, "a"), other])
    assert os.environ.pop(CHOSEN) == "lo"


def test_nothing_is_chosen_where_the_user_has_chosen_or_there_is_one_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, [])
    monkeypatch.delenv(CHOSEN, raising=False)
    let_gloo_be_reached(presence(0, "a"), [presence(0, "a"), presence(1, "a")])
    assert CHOSEN not in os.environ
    monkeypatch.setenv(CHOSEN, "eth7")
    let_gloo_be_reached(presence(0, "a"), [presence(0, "a"), presence(1, "b")])
    assert os.environ[CHOSEN] == "eth7"


def test_name_that_others_can_use_is_left_to_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHOSEN, raising=False)
    resolve_to(monkeypatch, ["0.0.0.0"])  # an address that any host can bind, and no loopback
    let_gloo_be_reached(presence(0, "a"), [presence(0, "a"), presence(1, "b")])
    assert CHOSEN not in os.environ


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    def look_up(*args: Any, **kwargs: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror("not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
