"""Where things live, and who is kept out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from holdfast import rundir
from holdfast.errors import InvalidArgument, NotPermitted
from holdfast.rundir import secure_directory


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HOLDFAST_STATE_DIR", "HOLDFAST_RUN_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_states_live_on_shared_memory_unless_told_otherwise(bare: pytest.MonkeyPatch) -> None:
    assert rundir.state_directory() == f"/dev/shm/holdfast-{os.geteuid()}"
    bare.setenv("HOLDFAST_STATE_DIR", "")
    assert rundir.state_directory() == f"/dev/shm/holdfast-{os.geteuid()}"
    bare.setenv("HOLDFAST_STATE_DIR", "some/where")
    assert rundir.state_directory() == os.path.abspath("some/where")


def test_sockets_live_where_the_user_the_system_or_the_session_says(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare.setattr(os, "geteuid", lambda: 0)
    assert rundir.run_directory() == "/run/holdfast"
    bare.setattr(os, "geteuid", lambda: 1234)
    assert rundir.run_directory() == "/tmp/holdfast-1234"
    bare.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert rundir.run_directory() == f"{tmp_path}/holdfast"
    for useless in ("relative", f"{tmp_path}/missing"):
        bare.setenv("XDG_RUNTIME_DIR", useless)
        assert rundir.run_directory() == "/tmp/holdfast-1234"
    bare.setenv("HOLDFAST_RUN_DIR", "/elsewhere")
    assert rundir.run_directory() == "/elsewhere"


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_new_directory_has_exactly_the_mode(tmp_path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        where = secure_directory(tmp_path / "made", mode)
    finally:
        os.umask(before)
    assert where == str(tmp_path / "made")
    assert mode_of(tmp_path / "made") == mode


def test_missing_parents_are_made_and_an_existing_directory_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    secure_directory(path, 0o750)
    (path / "file").touch()
    secure_directory(path, 0o700)
    assert mode_of(path) == 0o750
    assert (path / "file").exists()


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    for target in ("real", "missing"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(NotPermitted, match="symbolic link") as caught:
            secure_directory(link)
        assert caught.value.on == str(link)
        assert caught.value.hint
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(NotPermitted, match="others can write") as caught:
        secure_directory(path)
    assert "chmod go-w" in (caught.value.hint or "")


def test_a_directory_of_somebody_else_is_refused_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "theirs"
    path.mkdir(mode=0o755)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(NotPermitted, match=f"belongs to uid {owner}"):
        secure_directory(path)
    assert secure_directory(path, foreign=True) == str(path)
    path.chmod(0o777)
    with pytest.raises(NotPermitted, match="others can write"):
        secure_directory(path, foreign=True)


def test_a_mode_that_lets_others_write_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for mode in (0o770, 0o707, 0o1700):
        with pytest.raises(InvalidArgument):
            secure_directory(tmp_path / "made", mode)
    assert not (tmp_path / "made").exists()


def test_a_file_in_the_place_or_on_the_way_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with pytest.raises(InvalidArgument, match="something else") as caught:
            secure_directory(path)
        assert caught.value.on == str(file)


def test_a_read_only_file_system_is_not_permitted() -> None:
    if os.access("/sys", os.W_OK) and os.geteuid() == 0:
        target = "/sys/holdfast"  # sysfs takes no directories, from nobody
    else:
        target = "/holdfast-not-mine"
    with pytest.raises(NotPermitted):
        secure_directory(target)
