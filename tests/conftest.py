"""Options and fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.fixtures_state"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="long tests in full, not in short form")
    parser.addoption("--minutes", type=float, default=1.0, help="how long each soak test runs")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """True where the long form of a test is asked for."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(scope="session")
def soak_seconds(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--minutes")) * 60


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[1]
