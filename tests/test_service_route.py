"""Service-Route of the REGISTER's answer in the requests of a device (SPEC B16, RFC 3608)."""

from __future__ import annotations

import asyncio

import pytest
from provider import DOMAIN, HOME_HOST
from scripted import GRANTED, Scripted, grant, play, say

from sipcore._message import Request
from sipcore.device import Device
from sipcore.errors import CallBusy

ROUTES = ["<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"]


def with_routes(request: Request) -> None:
    grant(request, GRANTED, Service_Route=", ".join(ROUTES))


@pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "SUBSCRIBE", "PUBLISH"])
@pytest.mark.parametrize("outbound", [False, True])
def test_spec_b16_service_route_goes_into_route_and_the_next_hop_stays(method: str, outbound: bool) -> None:
    """SPEC B16: in requests outside of dialogs; p1.example.com is no name that anybody asks DNS for."""

    async def story(server: Scripted, device: Device) -> None:
        server.stack.ua.on(method, server._take)
        server.script(method, say(200))
        server.script("REGISTER", with_routes)
        await device.sp[1].registered(timeout=5)
        user_agent = device.sp[1].user_agent
        assert user_agent is not None
        assert (await user_agent.request(method, f"sip:bob@{DOMAIN}")).status_code == 200
        assert server.last(method).get_all("Route") == ROUTES
        await user_agent.request(method, f"sip:bob@{DOMAIN}", routes=["<sip:own.example;lr>"])
        assert server.last(method).get_all("Route") == ["<sip:own.example;lr>"]

    play(story, **({"OutboundProxy": HOME_HOST} if outbound else {}))


def test_spec_b16_a_call_takes_it_and_register_does_not() -> None:
    """RFC 3608 section 5: REGISTER goes to the registrar; the answer without it ends it."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", with_routes, with_routes, grant)
        server.script("INVITE", say(486))
        await device.sp[1].registered(timeout=5)
        for routes in (ROUTES, ROUTES, []):
            with pytest.raises(CallBusy):
                await device.sp[1].call("bob")
            assert server.last("INVITE").get_all("Route") == routes
            assert server.last("REGISTER").get_all("Route") == []
            device.sp[1].refresh()
            await asyncio.sleep(1)

    play(story)
