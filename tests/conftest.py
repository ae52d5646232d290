"""Options and fixtures for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures_lease",
    "tests.fixtures_postgres",
    "tests.fixtures_state",
    "tests.jitter",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="long tests in full, not in short form")
    parser.addoption("--minutes", type=float, help="run the soak tests, all together so long")
    parser.addoption("--seeds", type=int, default=1, help="of each scenario, in the soak tests")


def pytest_configure(config: pytest.Config) -> None:
    """What holds for every test.

    Hypothesis asks for no speed, which is the machine's and not ours. In the short form it draws
    the same examples each time, so that two runs on one tree say the same; in full it draws others.
    Signals mean what they usually mean, also where we were started with nohup, or by ``&``.
    """
    settings.register_profile(
        "holdfast",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=not config.getoption("--full"),
        print_blob=True,
    )
    settings.load_profile("holdfast")
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Soak tests are for those who ask how long (`make soak`)."""
    soak = Path(__file__).parent / "soak"
    return True if collection_path == soak and config.getoption("--minutes") is None else None


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """True where the long form of a test is asked for."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(scope="session")
def soak_seconds(pytestconfig: pytest.Config) -> float:
    """How long all soak tests together may take."""
    return float(pytestconfig.getoption("--minutes")) * 60


@pytest.fixture(scope="session")
def soak_seeds(pytestconfig: pytest.Config) -> int:
    """How many seeds of each scenario a soak test explores at least, however long that takes."""
    return int(pytestconfig.getoption("--seeds"))


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[1]
