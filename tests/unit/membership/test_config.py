"""Settings: the presets, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument
from holdfast.membership import Config, Periodic
from tests.unit.membership.stage import changed

S = 1_000_000_000


@pytest.mark.parametrize(("n", "seconds"), [(5, 4), (10, 4), (100, 8)])
def test_a_suspicion_grows_slowly_with_the_cluster(n: int, seconds: int) -> None:
    """9, config.rs: suspicion_scales_slowly."""
    assert Config.lan(n).suspect_to_down_after_ns == seconds * S


# The table of section 3.
SIZES = [
    (1, 1, 4, 30),
    (2, 1, 4, 30),
    (3, 2, 4, 30),
    (5, 3, 4, 30),
    (8, 3, 4, 30),
    (10, 4, 4, 30),
    (50, 6, 6.796, 50.97),
    (100, 8, 8, 60),
    (500, 10, 10.796, 80.97),
    (1000, 12, 12, 90),
    (10_000, 16, 16, 120),
    (2**32 - 1, 38, 38.5, 289),
]


@pytest.mark.parametrize(("n", "transmissions", "lan", "wan"), SIZES)
def test_presets_are_those_of_the_crate(n: int, transmissions: int, lan: float, wan: float) -> None:
    for config, seconds in ((Config.lan(n), lan), (Config.wan(n), wan)):
        assert config.max_transmissions == transmissions
        assert config.suspect_to_down_after_ns / S == pytest.approx(seconds, rel=0.002)
        assert config.notify_down_members
        assert (config.num_indirect_probes, config.max_packet_size) == (3, 1400)
        assert config.remove_down_after_ns == 86_400 * S
    assert Config.lan(n).periodic_gossip == Periodic(S // 5, 3)
    assert Config.wan(n).periodic_announce_to_down_members == Periodic(125 * S, 3)


def test_the_simple_preset_does_nothing_by_itself() -> None:
    config = Config.simple()
    assert (config.probe_period_ns, config.probe_rtt_ns) == (1_500_000_000, 500_000_000)
    assert (config.max_transmissions, config.suspect_to_down_after_ns) == (10, 3 * S)
    assert not config.notify_down_members
    assert config.periodic_announce is config.periodic_gossip is None
    assert config.periodic_announce_to_down_members is None
    assert Config.local().probe_period_ns == S


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probe_period_ns", 0),
        ("probe_period_ns", 1.5),
        ("probe_rtt_ns", -1),
        ("probe_rtt_ns", 1_500_000_000),
        ("num_indirect_probes", 0),
        ("max_transmissions", 0),
        ("max_transmissions", 256),
        ("suspect_to_down_after_ns", 0),
        ("remove_down_after_ns", None),
        ("max_packet_size", 65_536),
        ("max_packet_size", True),
        ("notify_down_members", 1),
        ("periodic_gossip", 5),
        ("periodic_announce", (5, 1)),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=name):
        changed(Config.simple(), **{name: value})


def test_a_period_and_a_number_are_positive() -> None:
    for period, number in ((0, 1), (1, 0), (1.5, 1), (1, True)):
        with pytest.raises(InvalidArgument):
            Periodic(period, number)  # type: ignore[arg-type]
    for size in (0, -3, 1.5):
        with pytest.raises(InvalidArgument):
            Config.lan(size)  # type: ignore[arg-type]
