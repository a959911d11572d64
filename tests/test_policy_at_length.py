"""Days and months of registrations with outages of everything, replayable from the seed (SPEC B11, C5, C6)."""

import random

import pytest
from policy_world import World, draw_outages

HOUR, DAY = 3600.0, 86400.0
SETTLED = 600.0  # seconds after the last outage: the longest default wait is 200 s


def live(seed: int, *, services: int, period: int, length: float, outages: int) -> World:
    drawn = draw_outages(random.Random(seed), length - SETTLED - period, outages)
    world = World(seed, services, period, drawn)
    world.run(length)
    return world


def check(world: World) -> None:
    bound = [client.registration.is_bound(world.now) for client in world.clients]
    assert all(bound), f"{bound.count(False)} of {len(bound)} are not registered"
    for client in world.clients:
        assert client.registration.state in ("registered", "registering")
        if client.link is not None:
            assert len(client.connections) == 1
            gaps = zip(client.locates, client.locates[1:], strict=False)
            assert all(later - earlier >= 0.5 for earlier, later in gaps)


@pytest.mark.parametrize("seed", range(4))
def test_spec_b11_six_hours_of_trouble_end_registered(seed: int):
    check(live(seed, services=10, period=60, length=6 * HOUR, outages=30))


def test_a_seed_is_replayed_to_the_same_end():
    def trace(seed: int) -> list[tuple[int, float | None]]:
        world = live(seed, services=6, period=60, length=2 * HOUR, outages=10)
        return [(client.sent, client.registration.next_attempt) for client in world.clients]

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_registers_are_no_more_than_the_periods_and_the_waits_ask_for():
    world = live(3, services=4, period=60, length=6 * HOUR, outages=0)
    assert all(6 * HOUR / 60 <= client.sent <= 6 * HOUR / 42 for client in world.clients)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_spec_b11_a_day_of_fifty_services_at_sixty_seconds_ends_registered(seed: int):
    check(live(seed, services=50, period=60, length=DAY, outages=60))


@pytest.mark.slow
def test_spec_b11_a_month_of_a_thousand_services_at_an_hour_ends_registered():
    check(live(1, services=1000, period=3600, length=30 * DAY, outages=200))
