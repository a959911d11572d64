"""The registrar on the simulated network: RFC 3261 section 10.3 and 22, RFC 3327, 5626; FAULTS 32, 33, 43, 44."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from sipcore import sim
from sipcore._message import Response
from sipcore.digest import DigestClient
from sipcore.location import Limits
from sipcore.outgoing import Challenged
from sipcore.registrar import Registrar
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

DOMAIN = "example.com"
HOME = "192.0.2.10"
Header = tuple[str, str]


class Client:
    """A user agent that registers by hand."""

    def __init__(
        self, network: SimNetwork, host: str = "192.0.2.1", *, user: str = "bob", password: str = "word"
    ) -> None:
        self.stack = Stack(env=network.env(host))
        self.agent = self.stack.user_agent("bob")
        self.user = user
        self.call_id = "one"
        self.sequence = 0
        self.digest = DigestClient(user, password, random=random.Random(1))
        self.agent.authorize = self._authorize
        self._attempt = self.digest.attempt(method="REGISTER", uri=f"sip:{HOME}")

    def _authorize(self, challenged: Challenged) -> Sequence[Header] | None:
        if challenged.attempt > 1:
            return None
        self._attempt = self.digest.attempt(method=challenged.method, uri=challenged.request_uri)
        return self._attempt.answer(challenged.response.status_code, challenged.response.headers)

    async def register(
        self, *contacts: str, headers: Sequence[Header] = (), sequence: int = 0, user: str = ""
    ) -> Response:
        """One REGISTER, challenged and answered; its final response."""
        self.sequence = sequence or self.sequence + 2
        address = f"<sip:{user or self.user}@{DOMAIN}>"
        return await self.agent.request(
            "REGISTER",
            f"sip:{HOME}",
            headers=[*(("Contact", contact) for contact in contacts), *headers],
            from_=address,
            to=address,
            call_id=self.call_id,
            sequence=self.sequence,
        )


Story = Callable[[Registrar, Client], Awaitable[None]]


def play(story: Story, *, users: dict[str, str] | None = None, limits: Limits | None = None) -> None:
    async def main(network: SimNetwork) -> None:
        home = Stack(env=network.env(HOME))
        agent = home.user_agent("home")
        await agent.listen("udp", f"{HOME}:5060")
        await agent.listen("tcp", f"{HOME}:5060")
        registrar = Registrar(agent, domains=[DOMAIN], users=users, limits=limits, service_route=["<sip:home;lr>"])
        client = Client(network)
        await client.agent.listen("udp", "192.0.2.1:5060")
        await story(registrar, client)
        await client.stack.close(timeout=0)
        await home.close(timeout=0)

    sim.run(main)


USERS = {"bob": "word", "eve": "other"}
CONTACT = "<sip:bob@192.0.2.1>"


def bound(registrar: Registrar, user: str = "bob") -> list[str]:
    now = registrar.user_agent.env.now()
    return sorted(binding.contact for binding in registrar.location.bindings(f"sip:{user}@{DOMAIN}", now))


def test_a_good_register_is_answered_with_its_binding_and_routes() -> None:
    async def story(registrar: Registrar, client: Client) -> None:
        response = await client.register(f"{CONTACT};expires=90", headers=[("Path", "<sip:edge;lr>")])
        assert response.status_code == 200
        assert response.get_all("Contact") == [f"{CONTACT};expires=90"]
        assert response["Service-Route"] == "<sip:home;lr>"
        assert response["Path"] == "<sip:edge;lr>"

    play(story, users=USERS)


def test_without_good_credentials_nothing_is_bound_and_nothing_is_kept() -> None:
    """FAULTS 32: challenges authenticate themselves."""

    async def story(registrar: Registrar, client: Client) -> None:
        client.digest = DigestClient("bob", "wrong", random=random.Random(1))
        response = await client.register(CONTACT)
        assert response.status_code == 401
        assert [value.partition(" ")[0] for value in response.get_lines("WWW-Authenticate")] == ["Digest", "Digest"]
        assert bound(registrar) == []
        assert registrar.digest is not None
        assert not registrar.digest._used

    play(story, users=USERS)


def test_a_user_may_register_no_address_but_its_own() -> None:
    """RFC 3261 section 10.3 step 4."""

    async def story(registrar: Registrar, client: Client) -> None:
        response = await client.register(CONTACT, user="eve")
        assert response.status_code == 403
        assert bound(registrar, "eve") == []

    play(story, users=USERS)


def test_a_replayed_request_is_challenged_again() -> None:
    """FAULTS 33: same nonce and count."""

    async def story(registrar: Registrar, client: Client) -> None:
        assert (await client.register(CONTACT)).status_code == 200
        challenge = await _challenge(client)
        header = client._attempt.answer(401, challenge.headers)
        first = await _with_credentials(client, header)
        again = await _with_credentials(client, header)
        assert (first.status_code, again.status_code) == (200, 401)
        assert "stale=true" in again["WWW-Authenticate"]

    async def _challenge(client: Client) -> Response:
        client.agent.authorize = None
        client._attempt = client.digest.attempt(method="REGISTER", uri=f"sip:{HOME}")
        return await client.register(CONTACT)

    async def _with_credentials(client: Client, headers: Sequence[Header]) -> Response:
        return await client.register(CONTACT, headers=headers)

    play(story, users=USERS)


@pytest.mark.parametrize(
    ("contacts", "headers", "status_code"),
    [
        (["*"], [("Expires", "0")], 200),
        (["*"], [("Expires", "60")], 400),
        (["*"], [], 400),
        (["*", CONTACT], [("Expires", "0")], 400),
        ([f"{CONTACT};expires=59"], [], 423),
        ([f"{CONTACT};expires=0"], [], 200),
        ([f"{CONTACT};expires=-1"], [], 200),
        ([f"{CONTACT};expires={10**100}"], [], 200),
        ([f"{CONTACT};expires=0", "<sip:x@192.0.2.9>;expires=5"], [], 423),
        ([f"<sip:{number}@192.0.2.1>" for number in range(11)], [], 403),
        (["<sip:" + "x" * 2000 + "@192.0.2.1>"], [], 403),
        (["<sip:bob@192.0.2.1"], [], 400),
        ([CONTACT], [("Require", "magic")], 420),
    ],
)
def test_contacts_are_taken_or_refused_as_a_whole(contacts: list[str], headers: list[Header], status_code: int) -> None:
    """FAULTS 43: limit 403, 400 or 423; the bindings unchanged on failure."""

    async def story(registrar: Registrar, client: Client) -> None:
        assert (await client.register(f"{CONTACT};expires=90")).status_code == 200
        before = bound(registrar)
        response = await client.register(*contacts, headers=headers)
        assert response.status_code == status_code
        if status_code != 200:
            assert bound(registrar) == before
        if status_code == 423:
            assert response["Min-Expires"] == "60"

    play(story)


def test_a_query_without_contact_tells_the_bindings() -> None:
    async def story(registrar: Registrar, client: Client) -> None:
        await client.register(f"{CONTACT};expires=90", "<sip:bob@192.0.2.9>;q=0.5;expires=70")
        response = await client.register()
        assert response.status_code == 200
        assert response.get_all("Contact") == [f"{CONTACT};expires=90", "<sip:bob@192.0.2.9>;expires=70;q=0.5"]

    play(story)


def test_an_older_sequence_rolls_nothing_back() -> None:
    """FAULTS 44."""

    async def story(registrar: Registrar, client: Client) -> None:
        assert (await client.register(f"{CONTACT};expires=90", sequence=10)).status_code == 200
        assert (await client.register(f"{CONTACT};expires=0", sequence=9)).status_code == 500
        assert bound(registrar) == ["sip:bob@192.0.2.1"]

    play(story)


def test_a_reg_id_replaces_the_binding_of_the_same_instance() -> None:
    """RFC 5626 section 6: another contact, the same flow of the same instance."""
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";reg-id=1'

    async def story(registrar: Registrar, client: Client) -> None:
        supported = [("Supported", "path, outbound")]
        await client.register(f"<sip:bob@192.0.2.1:1>;{instance}", headers=supported)
        response = await client.register(f"<sip:bob@192.0.2.1:2>;{instance}", headers=supported)
        assert response["Require"] == "outbound"
        assert bound(registrar) == ["sip:bob@192.0.2.1:2"]

    play(story)


def test_an_address_of_another_domain_is_not_found() -> None:
    async def story(registrar: Registrar, client: Client) -> None:
        address = "<sip:bob@elsewhere.example>"
        response = await client.agent.request("REGISTER", f"sip:{HOME}", from_=address, to=address)
        assert response.status_code == 404

    play(story)
