"""The end of leases, on every store: closing, exits, and what an interruption leaves behind."""

from __future__ import annotations

import gc
import linecache
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import holdfast
from holdfast import lease
from holdfast.errors import Closed
from holdfast.lease import Leases, Record
from tests.fixtures_lease import (
    PATIENCE_S,
    Bench,
    Going,
    Hands,
    Open,
    names,
    program,
    raising,
    threads_of_leases,
    until,
)

# -- closing --------------------------------------------------------------------------------------


def test_closing_gives_back_and_stops_the_threads(url: str, open_leases: Open) -> None:
    others = open_leases(url)
    before = threads_of_leases()
    leases = lease.open(url)
    held = [leases.hold(f"n{i}").__enter__() for i in range(3)]
    others.claim("other", "b", 60)
    assert until(lambda: threads_of_leases() - before)
    leases.close()
    assert until(lambda: not threads_of_leases() - before)  # it waits a second, no longer
    assert names(others.records()) == ["other"]
    for one in held:
        assert (one.lost, one.remaining()) == (False, 0.0)
        one.release()
    assert leases.closed
    leases.close()


def test_closing_twice_is_harmless_for_two_threads(url: str) -> None:
    leases = lease.open(url)
    with leases.hold("n"):
        for closing in [Going(leases.close) for _ in range(2)]:
            closing.outcome()
    assert "closed" in repr(leases)


def test_descriptors_are_given_back(url: str) -> None:
    def open_descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def use() -> None:
        with lease.open(url) as leases, leases.hold("n", duration=0.05, renew=None) as held:
            held.fileno()
            held.wait_lost(PATIENCE_S)
            with leases.hold("m") as other:
                other.fileno()

    use()
    before = open_descriptors()
    for _ in range(3):
        use()
    # A renewer that takes its time at the end has its connection a little longer.
    assert until(lambda: open_descriptors() <= before)


def test_after_the_end_everything_says_so(url: str) -> None:
    leases = lease.open(url)
    token = leases.token("n", "a")
    changes = leases.watch()
    leases.close()
    calls: list[Callable[[], object]] = [
        lambda: leases.hold("n").__enter__(),
        lambda: leases.hold("n", holder="a").__enter__(),
        lambda: leases.claim("n", "a", 5),
        leases.records,
        leases.watch,
        lambda: next(changes),
        lambda: leases.wait_until_expired("n"),
        lambda: leases.pin("n", "a"),
        lambda: leases.unpin("n", "a"),
        token.check,
    ]
    for call in calls:
        with pytest.raises(Closed):
            call()


@pytest.mark.parametrize("what", ["hold", "claim", "vacancy", "watch"])
def test_a_waiter_in_another_thread_is_ended(url: str, open_leases: Open, what: str) -> None:
    others, leases = open_leases(url), lease.open(url)
    waits = threading.Event()

    def on_wait(record: Record) -> None:
        waits.set()

    def work() -> object:
        if what == "hold":
            return leases.hold("n", on_wait=on_wait).__enter__()
        if what == "claim":
            return leases.claim("n", "b", 5, wait=None, on_wait=on_wait)
        if what == "vacancy":
            waits.set()
            return leases.wait_until_expired("n")
        changes = leases.watch()
        waits.set()
        return next(changes)

    with others.hold("n") as held:
        waiter = Going(work)
        assert waits.wait(PATIENCE_S)
        time.sleep(0.05)
        leases.close()
        with pytest.raises(Closed):
            waiter.outcome()
        held.check()
        assert others.records()["n"].epoch == held.fencing_token


@pytest.mark.parametrize("holder", [None, "web"])
def test_who_claims_while_somebody_closes_keeps_nothing(holder: str | None) -> None:
    bench = Bench()

    def close() -> None:
        bench.ours.after.clear()
        with bench.leases.roster.lock:
            bench.leases._closing.set()  # as far as `close` gets before it looks who holds what

    bench.ours.after["claim"] = close
    with pytest.raises(Closed):
        bench.leases.hold("n", holder=holder).__enter__()
    assert len(bench.leases.roster) == 0
    assert bench.record("n") is None
    bench.leases._closing.clear()
    bench.close()


def test_closing_ends_though_the_clock_stands_at_zero() -> None:
    before = threads_of_leases()
    bench = Bench(Hands(0))
    with bench.leases.hold("n"):
        Going(bench.close).outcome()
    assert until(lambda: not threads_of_leases() - before)


def test_closing_ends_though_the_renewer_hangs() -> None:
    bench = Bench(Hands())
    goes_on = threading.Event()
    bench.theirs.before["extend_many"] = lambda: goes_on.wait(PATIENCE_S)
    hold = bench.leases.hold("n", duration=3)
    hold.__enter__()
    assert bench.clock
    bench.clock.pass_s(1)
    assert until(lambda: bench.theirs.calls.get("extend_many"))
    Going(bench.close).outcome()
    assert bench.record("n") is None
    goes_on.set()
    assert until(lambda: not any("renewer" in one.name for one in threads_of_leases()))
    assert bench.record("n") is None


def test_opening_and_closing_in_a_row_races_with_no_thread(url: str) -> None:
    """The renewer may end by itself just when it is told to."""
    before = threads_of_leases()
    for _ in range(30):
        with lease.open(url) as leases, leases.hold("n", duration=0.02):
            pass
    assert until(lambda: not threads_of_leases() - before)


# -- the end of the process -----------------------------------------------------------------------

LEFT_OPEN = """
    import sys, threading
    from holdfast import lease
    leases = lease.open(sys.argv[1])
    other = leases.hold("auto", duration=0.5).__enter__()
    leases.claim("n", "a", 60)
    def wait():
        try:
            leases.hold("n").__enter__()
        except BaseException:
            pass  # at the exit, the handles of states are closed under it
    threading.Thread(target=wait, daemon=True).start()
    other.wait_lost(0.4)
    print("end")
"""


def test_open_leases_keep_no_interpreter_from_its_exit(url: str) -> None:
    # Drivers warn of connections that nobody has closed: here that is the point.
    assert program(LEFT_OPEN, url, warnings="ignore") == "end"


HANGING = """
    import threading
    from holdfast.lease import Leases
    from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
    database = MemoryDatabase()
    hangs = threading.Event()
    class Hanging(MemoryStore):
        def extend_many(self, requests):
            hangs.set()
            threading.Event().wait()
    leases = Leases(lambda: Hanging(database))
    for number in range(100):  # one whose renewer comes too late is not renewed any more
        leases.hold(f"n{number}", duration=0.3).__enter__()
        if hangs.wait(0.3):
            break
    assert hangs.is_set()
    print("end")
"""


def test_a_store_that_hangs_keeps_no_interpreter_from_its_exit() -> None:
    assert program(HANGING) == "end"


# -- interruptions --------------------------------------------------------------------------------

INTERRUPTED = """
    import signal, sys, threading
    from holdfast import lease
    with lease.open(sys.argv[1]) as leases:
        def on_wait(record):
            print("waits", flush=True)
        try:
            with leases.hold("n", wait=None, on_wait=on_wait):
                print("held")
        except KeyboardInterrupt:
            print("interrupted", len(leases.roster))
"""


def test_an_interrupted_wait_leaves_nothing_behind(shared_url: str, open_leases: Open) -> None:
    """Ctrl-C, for real."""
    leases = open_leases(shared_url)
    with leases.hold("n") as held:
        waiter = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(INTERRUPTED), shared_url],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert waiter.stdout
            assert waiter.stdout.readline() == "waits\n"
            time.sleep(0.1)
            waiter.send_signal(signal.SIGINT)
            assert waiter.communicate(timeout=PATIENCE_S)[0] == "interrupted 0\n"
        finally:
            waiter.kill()
            waiter.communicate()
        held.check()
        assert leases.records()["n"].epoch == held.fencing_token
    time.sleep(0.1)
    assert leases.records() == ()


PACKAGE = os.path.join(os.path.dirname(holdfast.__file__), "lease")


class Interrupter:
    """Raises at the n-th line that this thread runs inside of the package.

    Not where a block begins or ends: the interpreter itself sees to it that a signal does not come
    between a lock and its block.
    """

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE):
            return None
        line = linecache.getline(file, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("holder", [None, "web"])
def test_a_claim_interrupted_at_any_line_leaves_nothing_behind(
    url: str, open_leases: Open, holder: str | None
) -> None:
    """No record of anybody's, and nothing that would be renewed for ever."""
    leases, others = open_leases(url), open_leases(url)
    with leases.hold("n", holder=holder):
        pass  # what is only done once is not what matters here
    nth = 0
    while True:
        nth += 1
        hold = leases.hold("n", holder=holder, wait=0)
        before = sys.gettrace()
        sys.settrace(Interrupter(nth))
        try:
            hold.__enter__()
        except KeyboardInterrupt:
            assert len(leases.roster) == 0, nth
            if holder is None:
                assert others.records() == (), nth
            elif others.records():
                # A holder of that name may share it with others: it lapses by itself.
                leases.store.release(others.records()["n"])
            continue
        finally:
            sys.settrace(before)
        break
    hold.__exit__(None, None, None)
    assert others.records() == ()
    assert nth > 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), TimeoutError("alarm")])
def test_a_claim_that_was_done_is_undone(error: BaseException) -> None:
    """In the moment of the answer; also by what the handler of a signal raises."""
    bench = Bench()
    bench.ours.after["claim"] = raising(error)
    with pytest.raises(type(error)):
        bench.leases.hold("n").__enter__()
    assert bench.record("n") is None
    assert len(bench.leases.roster) == 0
    bench.close()


def test_undoing_does_not_hide_the_interruption() -> None:
    bench = Bench()
    bench.ours.after["claim"] = raising(KeyboardInterrupt())
    for failure in (Closed("by chance"), ZeroDivisionError()):
        bench.ours.before["look"] = raising(failure)
        with pytest.raises(KeyboardInterrupt):
            bench.leases.hold("n").__enter__()
        bench.ours.before.clear()
        record = bench.record("n")
        assert record is not None
        bench.leases.store.release(record)
    bench.close()


def test_an_interrupted_block_gives_back(leases: Leases) -> None:
    with pytest.raises(KeyboardInterrupt), leases.hold("n"):
        raise KeyboardInterrupt
    assert leases.records() == ()
