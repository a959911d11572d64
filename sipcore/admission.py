"""Whose requests one service takes (SPEC E3): X_AccessList and X_AcceptSipFromRegistrarOnly.

Knows addresses only; the engine asks before it parses anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from sipcore.policy.settings import Service


class SourceFilter:
    """Give it to the engine as a source filter; `filter(host)` is true for who may send requests.

    `is_own_server(host)` knows registrar and proxies, `is_dialog_peer(host)` the
    next hops of live dialogs.  The access list names who else may.
    """

    def __init__(
        self, service: Service, is_own_server: Callable[[str], bool], is_dialog_peer: Callable[[str], bool]
    ) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in service.access_list]
        self._servers_too = service.accept_sip_from_registrar_only or not self._networks
        self._is_own_server = is_own_server
        self._is_dialog_peer = is_dialog_peer

    def __call__(self, host: str) -> bool:
        if self._is_listed(host):
            return True
        return self._servers_too and (self._is_own_server(host) or self._is_dialog_peer(host))

    def _is_listed(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def make_source_filter(
    service: Service, is_own_server: Callable[[str], bool], is_dialog_peer: Callable[[str], bool]
) -> SourceFilter | None:
    """The filter that a service's configuration asks for; None when everybody is welcome."""
    if not service.access_list and not service.accept_sip_from_registrar_only:
        return None
    return SourceFilter(service, is_own_server, is_dialog_peer)
