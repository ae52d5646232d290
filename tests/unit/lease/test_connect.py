"""From a URL to a store: which are understood, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast import lease
from holdfast.errors import Closed, InvalidArgument, NotFound, Unsupported
from holdfast.lease.stores.connect import opener
from tests.fixtures_lease import threads_of_leases

BAD = [
    "foo:",
    "foo:///x",
    "local",
    "memory",
    "",
    ":",
    "local:?x=1",
    "local:?dir=",
    "local:?dir=/a&x=1",
    "local:/var/lib",
    "local://host",
    "local:?dir=/a#b",
    "sqlite://",
    "sqlite:///:memory:",
    "sqlite:",
    "postgres://host/db",
]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_store_is_refused(bad: str) -> None:
    before = threads_of_leases()
    with pytest.raises(InvalidArgument) as caught:
        lease.open(bad)
    assert caught.value.hint or bad
    assert threads_of_leases() <= before


@pytest.mark.parametrize("bad", [None, 7, b"local:", Path("leases.db")])
def test_what_is_no_string_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="URL"):
        lease.open(bad)


@pytest.mark.parametrize("bad", ["", "\n", None, 7])
def test_a_namespace_is_a_word(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="namespace"):
        lease.open("memory:", namespace=bad)


def test_another_driver_or_database_is_not_supported() -> None:
    for url in ("sqlite+aiosqlite:///x.db",):
        with pytest.raises(Unsupported):
            lease.open(url)


def test_a_place_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    before = threads_of_leases()
    with pytest.raises(NotFound):
        lease.open(f"sqlite:///{tmp_path}/none/leases.db")
    assert threads_of_leases() <= before


def test_memory_is_shared_by_name_within_the_process() -> None:
    with (
        lease.open("memory:one") as one,
        lease.open("memory:one") as same,
        lease.open("memory:two") as other,
        one.hold("n"),
    ):
        assert [record.name for record in same.records()] == ["n"]
        assert other.records() == ()


def test_a_relative_directory_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewer opens its connection later, and somebody may have changed the directory."""
    monkeypatch.chdir(tmp_path)
    make = opener("local:?dir=leases", "default")
    make().close()
    monkeypatch.chdir("/")
    with make() as store:
        assert (tmp_path / "leases").is_dir()
        store.claim("n", "a", 10**9)
    with lease.open(f"local:?dir={tmp_path}/leases") as leases:
        assert leases.records()["n"].holder == "a"


def test_a_relative_file_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make = opener("sqlite:///leases.db", "default")
    make().close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with make() as store:
        store.claim("n", "a", 10**9)
    assert not (tmp_path / "elsewhere" / "leases.db").exists()


def test_a_store_that_fails_at_once_is_closed() -> None:
    """The first look at its clock: nothing is left open when it cannot be had."""
    from holdfast.errors import Unavailable
    from holdfast.lease import Leases
    from tests.fixtures_lease import Bench, raising

    bench = Bench()
    before = threads_of_leases()
    opened = []

    def broken() -> Any:
        opened.append(bench._open())
        opened[-1].before["clock"] = raising(Unavailable("away"))
        return opened[-1]

    with pytest.raises(Unavailable):
        Leases(broken)
    with pytest.raises(Closed):
        opened[-1].inner.refresh()
    assert threads_of_leases() <= before
    bench.close()
