"""A fork shares no lease: the child holds nothing, and takes nothing from its parent."""

from __future__ import annotations

from tests.fixtures_lease import program

CHILD = """
    import os, select, sys, threading, time
    from holdfast import lease
    from holdfast.errors import Closed, LeaseLost

    leases = lease.open(sys.argv[1])
    def in_child(work):
        # What becomes of work() in a child that has to end by itself.
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=lambda: (time.sleep(20), os._exit(9)), daemon=True).start()
            code = 1
            try:
                work()
                code = 0
            except BaseException as error:
                print(repr(error), flush=True)
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def refused(error, call):
        try:
            call()
        except error:
            return
        raise AssertionError(call)
"""

HOLDS_NOTHING = (
    CHILD
    + """
    token = leases.token("n", "a")
    hold = leases.hold("n", duration=9)
    with hold as held:
        fd = held.fileno()
        def child():
            refused(LeaseLost, held.check)
            refused(LeaseLost, lambda: held.gate(object()))
            assert (held.lost, held.remaining()) == (True, 0.0)
            assert held.wait_lost(0) is True
            assert select.select([held.fileno()], [], [], 0)[0]
            assert leases.closed
            for call in (
                lambda: leases.hold("m").__enter__(), lambda: leases.claim("m", "a", 5),
                leases.records, leases.watch, lambda: leases.wait_until_expired("m"),
                lambda: leases.pin("m", "a"), lambda: leases.unpin("m", "a"), token.check,
            ):
                refused(Closed, call)
            held.progress()
            held.release()
            hold.__exit__(None, None, None)
            leases.close()
        assert in_child(child) == 0
        assert not select.select([fd], [], [], 0)[0]
        held.check()
        assert leases.records()["n"].epoch == held.fencing_token
        deadline_ns, end = held.deadline_ns, time.monotonic() + 30
        while held.deadline_ns == deadline_ns:  # the threads are still there
            assert time.monotonic() < end
            held.check()
            time.sleep(0.02)
    assert leases.records() == ()
    leases.close()
    print("good")
"""
)


def test_the_child_holds_nothing_and_the_parent_goes_on(url: str) -> None:
    assert program(HOLDS_NOTHING, url) == "good"


LOCKED = (
    CHILD
    + """
    with leases.hold("n") as held:
        locked, let_go = threading.Event(), threading.Event()
        def holds_the_lock():
            with leases.roster.lock:
                locked.set()
                let_go.wait(30)
        thread = threading.Thread(target=holds_the_lock)
        thread.start()
        assert locked.wait(30)
        def child():
            refused(LeaseLost, held.check)
            assert held.lost
            held.fileno()
            assert held.wait_lost() is True
            held.release()
            refused(Closed, lambda: leases.hold("m").__enter__())
            leases.close()
        code = in_child(child)
        let_go.set()
        thread.join()
        assert code == 0, code
        held.check()
    leases.close()
    print("good")
"""
)


def test_a_lock_that_was_held_at_the_fork_hinders_no_child(url: str) -> None:
    assert program(LOCKED, url) == "good"


OPENS_ITS_OWN = (
    CHILD
    + """
    from holdfast.errors import ClaimDenied
    with leases.hold("n") as held:
        def child():
            with lease.open(sys.argv[1]) as own:
                refused(ClaimDenied, lambda: own.hold("n", wait=0).__enter__())
                with own.hold("m", wait=0) as other:
                    assert other.holder != held.holder
                    other.check()
                    assert {r.name for r in own.records()} == {"m", "n"}
        assert in_child(child) == 0
        held.check()
        assert [r.name for r in leases.records()] == ["n"]
    leases.close()
    print("good")
"""
)


def test_the_child_opens_its_own(shared_url: str) -> None:
    assert program(OPENS_ITS_OWN, shared_url) == "good"


BUSY = (
    CHILD
    + """
    # Forks in the middle of everything: claims, renewals, ticks.
    stop = threading.Event()
    def work(name):
        while not stop.is_set():
            with leases.hold(name, duration=0.3):
                pass
    def linger():
        while not stop.is_set():
            with leases.hold("c", duration=0.3) as held:
                held.wait_lost(0.5)
    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    threads.append(threading.Thread(target=linger))
    for thread in threads:
        thread.start()
    with leases.hold("n", duration=60) as held:
        for _ in range(20):
            def child():
                refused(LeaseLost, held.check)
                refused(Closed, leases.records)
                held.release()
                leases.close()
            code = in_child(child)
            assert code == 0, code
            held.check()
        stop.set()
        for thread in threads:
            thread.join()
        held.check()
        assert leases.records()["n"].epoch == held.fencing_token
    leases.close()
    print("good")
"""
)


def test_a_fork_at_any_time_ends(url: str) -> None:
    assert program(BUSY, url) == "good"
