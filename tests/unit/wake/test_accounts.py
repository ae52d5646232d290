"""Whether anything is stranded: what heads account for, and what the governor makes of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.ipc import connect
from holdfast.wake import (
    AsyncGovernor,
    MessageChannel,
    MessageSource,
    SequenceClient,
    SequenceServer,
    Service,
    WakeLease,
    wire,
)
from holdfast.wake.accounts import Account
from holdfast.wake.causes import explain, sentences
from holdfast.wake.sequence import Receiver
from tests.unit.wake.governors import governing
from tests.unit.wake.sequence_head import Head
from tests.unit.wake.stage import Stage
from tests.unit.wake.strategies.small import until
from tests.unit.wake.strategies.test_sequence_server import on_a_loop

FINE = Account(clients=1, sent=5, covered=5, processed=5)


def suspended(account: Account, *, after: Account | None = None, then: str = "done") -> Stage:
    """An attempt in which one head answers with that account."""
    stage = Stage()
    stage.listen("packets")
    stage.listen("slow")
    stage.suspend()
    stage.answer("packets", account=account)
    if then == "gone":
        stage.gone("packets")
    if then == "held":
        stage.acquire("other")
    stage.answer("slow")
    if then == "done":
        stage.done()
    if then != "gone":
        stage.answer("packets", account=after or account)
    stage.answer("slow")
    return stage


def told(stage: Stage) -> str:
    return "\n".join(sentences(stage.governor.attempts[-1], stage.now_ns))


# -- the governor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "stranded"),
    [
        (FINE, 0),
        (Account(clients=1, sent=5, covered=2, processed=2), 3),
        (Account(clients=1, sent=5, covered=5, processed=1, let_go=4), 4),
        (Account(clients=2, sent=9, covered=7, processed=6, let_go=1), 3),
    ],
)
def test_what_is_stranded_at_the_entry_is_reported_with_the_pipeline_and_the_count(
    account: Account, stranded: int
) -> None:
    stage = suspended(account)
    status = stage.governor.status()
    assert status.suspends == 1, "it is said, and nothing is hindered"
    assert status.stranded == stranded
    [pipeline] = stage.governor.attempts[-1].pipelines
    assert (pipeline.name, pipeline.account, pipeline.stranded) == ("packets", account, stranded)
    assert [report.names for report in stage.reports] == ([("packets",)] if stranded else [])
    if stranded:
        assert f"{stranded} messages of the pipeline packets" in stage.reports[0].sentence
        assert f"STRANDED: {stranded} messages of the pipeline packets" in told(stage)
        assert f"STRANDED so far: {stranded} messages" in "\n".join(explain(status, stage.now_ns))
    else:
        assert "Nothing of 1 pipeline was stranded, of 5 messages sent so far." in told(stage)
        assert "STRANDED" not in "\n".join(explain(status, stage.now_ns))


@pytest.mark.parametrize("then", ["gone", "held"])
def test_where_the_back_end_is_not_entered_or_the_head_is_dead_nothing_is_promised(
    then: str,
) -> None:
    stage = suspended(Account(clients=1, sent=5, covered=2), then=then)
    assert (stage.reports, stage.governor.status().stranded) == ([], 0)
    assert "STRANDED" not in told(stage)


def test_a_head_that_ends_while_the_machine_is_down_is_named_all_the_same() -> None:
    stage = Stage()
    stage.listen("packets")
    stage.suspend()
    stage.answer("packets", account=Account(clients=1, sent=5, covered=2))
    stage.gone("packets")
    stage.done()
    assert stage.governor.attempts[-1].pipelines[0].stranded == 3


@pytest.mark.parametrize(("after", "unknown"), [(5, 0), (4, 1), (2, 3)])
def test_a_word_that_was_on_its_way_counts_and_what_nobody_said_is_told_without_alarm(
    after: int, unknown: int
) -> None:
    before = Account(clients=1, sent=5, covered=5, processed=2)
    stage = suspended(before, after=Account(clients=1, sent=9, covered=5, processed=after))
    [pipeline] = stage.governor.attempts[-1].pipelines
    assert (pipeline.unknown, pipeline.stranded, stage.reports) == (unknown, 0, [])
    assert (f"Of {unknown} messages of the pipeline packets" in told(stage)) == bool(unknown)


def test_an_account_counts_for_its_attempt_and_only_as_an_answer_that_is_awaited() -> None:
    stage = Stage()
    stage.listen("packets")
    stage.suspend("r1")
    call = stage.calls["packets"]
    stage.answer("packets", account=FINE)
    stage.done()
    stage.answer("packets", call, account=Account(clients=1, sent=5))  # again, and too late
    assert stage.governor.attempts[-1].pipelines[0].account == FINE
    stage.answer("packets")
    stage.suspend("r2")
    stage.answer("packets")
    stage.done()
    assert stage.governor.attempts[-1].pipelines == ()


def test_what_was_saved_is_added_up_over_heads_that_come_and_go() -> None:
    stage = Stage()

    def cycle(saved: int, wake_leases: int) -> None:
        stage.suspend()
        stage.answer("packets", account=Account(saved=saved, wake_leases=wake_leases))
        stage.done()
        stage.answer("packets", account=Account(saved=saved, wake_leases=wake_leases))

    stage.listen("packets")
    for saved, wake_leases in ((10, 1), (10, 1), (25, 2)):
        cycle(saved, wake_leases)
    stage.gone("packets")
    stage.listen("packets")  # another one, which counts from nothing
    cycle(7, 1)
    status = stage.governor.status()
    assert (status.saved, status.saved_by) == (32, 3)
    assert "Saved from stranding so far: 32 messages, by 3 wake leases." in explain(
        status, stage.now_ns
    )
    cycle(3, 0)  # it counts backwards: it lies, or is broken
    most = (1 << 63) - 1
    for saved in (most, 0, most):
        cycle(saved, 1)
    assert stage.governor.status().saved == most, "and there is an end to it"


# -- the head -------------------------------------------------------------------------------------


def test_a_head_accounts_for_what_it_sent_and_what_clients_said() -> None:
    head = Head().attached()
    head.sends(5)
    assert head.sender.account() == Account(clients=1, sent=5)
    head.suspends()
    assert head.sender.account() == Account(clients=1, sent=5), "a lease that is only wanted"
    head.gets_it()
    head.resumes()
    assert head.lease.value == "none"
    account = Account(clients=1, sent=5, covered=5, processed=5, saved=5, wake_leases=1)
    assert head.sender.account() == account, "a client that never says is believed"
    head.sender.lets_go(0, 1, 5, 5)
    assert head.sender.account() == account
    head.sends(2)
    assert (head.sender.account().covered, head.sender.account().stranded) == (5, 2)


def test_a_head_with_a_wake_lease_strands_nothing() -> None:
    head = Head().awake()
    head.asks("r0")
    head.sends(5)
    head.suspends()
    head.gets_it()
    head.sends(3)
    assert head.lease.value == "held"
    assert head.sender.account().stranded == 0


def test_what_was_let_go_of_unprocessed_is_accounted_for_and_what_is_merely_unsaid_is_unknown() -> (
    None
):
    head = Head().attached()
    head.sends(5)
    head.suspends()
    head.gets_it()
    head.resumes()
    head.sender.lets_go(0, 7, 5, 2)  # another client's word
    assert head.sender.account().unknown == 0
    head.sender.lets_go(0, 1, 3, 3)
    assert (head.sender.account().stranded, head.sender.account().unknown) == (0, 2)
    head.sender.lets_go(0, 1, 5, 3)
    assert (head.sender.account().stranded, head.sender.account().unknown) == (2, 0)


def test_who_left_or_went_is_not_accounted_for() -> None:
    head = Head().attached()
    head.sends(5)
    head.sender.leaves(0, 7)
    assert head.sender.account().clients == 1
    head.sender.leaves(0, 1)
    assert head.sender.account() == Account()
    head.do(head.sender.subscribed(0, 0))
    head.asks("r1")
    assert head.sender.account().clients == 1
    head.do(head.sender.gone(0, 0))
    assert head.sender.account() == Account()


def test_what_a_client_said_to_have_processed_was_not_saved() -> None:
    head = Head().attached()
    head.sends(10)
    head.asks("r1", processed=4)
    head.suspends()
    head.gets_it()
    assert (head.sender.saved, head.sender.saving) == (6, 1)


# -- with sockets ---------------------------------------------------------------------------------


@asynccontextmanager
async def pipeline(
    place: Path,
) -> AsyncIterator[tuple[Service, AsyncGovernor, MessageSource, SequenceClient]]:
    async with governing(place) as (service, governor):
        server = SequenceServer(governor, name="packets")
        running = server.manage()[1]
        await server.ready()
        with MessageSource(str(place / "s"), server) as source:
            channel = await MessageChannel.connect(source.path, reporter=governor)
            client = SequenceClient(channel)
            asking = client.run()
            await source.wait_clients()
            try:
                yield service, governor, source, client
            finally:
                client.close()
                await channel.close()
                await asyncio.gather(asking, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_cycle_after_cycle_nothing_is_stranded_nor_unknown_and_what_was_saved_is_told(
    place: Path,
) -> None:
    async with pipeline(place) as (service, governor, source, client):
        for _ in range(20):
            for _ in range(5):
                await source.send(b"event")
            asleep = asyncio.create_task(governor.suspend())
            await until(lambda: client.holding)
            client.process_message(5)
            await asleep
        entered = [each for each in service.governor.attempts if each.entered_ns is not None]
        assert len(entered) > 10
        pipelines = [one for each in entered for one in each.pipelines if one.account.sent]
        assert len(pipelines) == len(entered)
        assert {(one.stranded, one.unknown) for one in pipelines} == {(0, 0)}
        status = await governor.status()
        assert (status.stranded, status.saved, status.saved_by) == (0, 100, 20)
        told = await governor.why()
        assert "Saved from stranding so far: 100 messages, by 20 wake leases." in told
        assert "Nothing of 1 pipeline was stranded, of 100 messages sent so far." in told


@on_a_loop
async def test_a_client_that_lets_go_too_early_is_found_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_early(receiver: Receiver[WakeLease]) -> WakeLease | None:
        done, receiver.held = receiver.held, None
        return done

    async with pipeline(place) as (_, governor, source, client):
        for _ in range(5):
            await source.send(b"event")
        asleep = asyncio.create_task(governor.suspend())
        await until(lambda: client.holding)
        with monkeypatch.context() as patch:
            patch.setattr(Receiver, "_done", too_early)
            client.process_message(2)
        await asleep
        assert (await governor.status()).stranded == 3
        reasons = await governor.reasons()
        told = "\n".join(reasons.lines)
        assert "STRANDED: 3 messages of the pipeline packets by " in told
        [checked] = reasons.pipelines
        assert (checked.name, checked.stranded, checked.account.sent) == ("packets", 3, 5)
        [line] = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert "stranded: the machine goes down, and 3 messages of the pipeline packets" in (
            line.getMessage()
        )


@on_a_loop
async def test_a_client_that_lost_its_baton_is_told_of_and_one_that_left_is_not(
    place: Path,
) -> None:
    async with pipeline(place) as (service, governor, source, client):

        async def cycle() -> None:
            for _ in range(5):
                await source.send(b"event")
            asleep = asyncio.create_task(governor.suspend())
            await until(lambda: client.holding)
            await until(lambda: len(service.leases) == 1)
            cycles.append(asleep)

        cycles: list[asyncio.Task[float]] = []
        await cycle()
        client.process_message(5)
        await cycles[-1]
        await cycle()
        held = client._machine.held
        assert isinstance(held, WakeLease)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, held.fileno())  # somebody closes what is not his, and it is another file
        os.close(null)
        await cycles[-1]
        assert "Of 5 messages of the pipeline packets by " in await governor.why()
        assert (await governor.status()).stranded == 0, "nobody knows"
        client.end_of_messages()
        await governor.suspend()
        assert "of the pipeline packets" not in await governor.why()


@pytest.mark.parametrize(
    "said",
    [{"account": 7}, {"account": {"sent": -1}}, {"account": {"sent": 1 << 64}}, {"account": []}],
)
@on_a_loop
async def test_an_account_that_is_none_is_no_account_and_an_answer_all_the_same(
    place: Path, said: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with governing(place) as (service, governor):
        connection = await connect(service.path, on_call=lambda request: request.answer(said))
        await connection.call(wire.LISTEN, wire.Listen("odd"), wire.Listening)
        await governor.suspend()
        assert service.governor.attempts[-1].pipelines == ()
        assert "a listener's account is none" in caplog.text
        connection.close()
        await asyncio.sleep(0)
