"""Many processes that open one fresh SQLite file at once: it has to be made once, by somebody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROCESSES, FILES = 4, 20

# Each file's turn begins for all of them at one instant, shortly after the last one has arrived.
OPENER = """
import os, sys, time
from holdfast.lease.stores.sql import SqlStore
directory, me, processes, files = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
for number in range(files):
    open(f"{directory}/{number}-{me}", "w").close()
    arrivals = [f"{directory}/{number}-{i}" for i in range(processes)]
    while not all(map(os.path.exists, arrivals)):
        time.sleep(0.001)
    begin_ns = max(os.stat(path).st_mtime_ns for path in arrivals) + 5_000_000
    while time.time_ns() < begin_ns:
        time.sleep(0)
    with SqlStore(f"sqlite:///{directory}/{number}.db", busy_s=30) as store:
        store.claim(me, "a", 1)
print("done", flush=True)
"""


@pytest.mark.timeout(120)
def test_a_fresh_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    openers = [
        subprocess.Popen(
            [*command, str(me), str(PROCESSES), str(FILES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(PROCESSES)
    ]
    try:
        for opener in openers:
            assert opener.stdout
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin
            opener.stdin.write("\n")
            opener.stdin.flush()
        failed = []
        for opener in openers:
            assert opener.stdout
            if opener.stdout.readline() != "done\n":
                failed.append(opener)
                break  # the others wait for it for ever
    finally:
        for opener in openers:
            opener.kill()
        errors = [opener.communicate()[1] for opener in openers]
    assert not failed, "\n".join(errors)
