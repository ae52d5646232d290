"""The sequence diagram of the seed on optimistic lease management, played by the real machines.

The lines below are the diagram's, without its arrows' marks of activation. Two deviations, each
with its reason, are all that there may be: ``docs/design/wake.md`` lists them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.wake.strategies.sequence_client import Baton, SequenceClient
from holdfast.wake.strategies.sequence_server import SequenceServer
from tests.unit.wake.strategies.small import Memory, Small, until
from tests.unit.wake.strategies.test_sequence_server import awake, on_a_loop, stop

SEED = """\
client->>server: ReceiveMsgs
client->>server: ReceiveBatons
server->>client: SendMsg{1}
server->>client: SendMsg{2}
client->>client: processMsg{1}
server->>client: SendMsg{3}
server->>client: SendMsg{4}
client->>client: processMsg{2}
SAG->>server: SuspendStarted
server->>SAG: AcquireWakeLease
SAG->>server: EventPair
SAG->>server: Resume
server->>SAG: <ACK>{SuspendStarted}
server->>SAG: <ACK>{Resume}
server->>client: SendBaton{idx: 4}
client->>client: processMsg{3}
client->>client: processMsg{4}
client->>client: dropBaton{4}
SAG->>server: SuspendStarted
server->>SAG: <ACK>{SuspendStarted}
SAG->>HAL: RequestSuspend
""".splitlines()

# What comes elsewhere than in the diagram, and why: the line, and the one that it comes before.
DEVIATIONS = [
    # The governor tells nobody of a resume before all have answered; the seed's own program cannot
    # do it either.
    ("SAG->>server: Resume", "server->>SAG: <ACK>{Resume}"),
    # A request is there, so that the baton need not wait for the resume.
    ("server->>client: SendBaton{idx: 4}", "server->>SAG: <ACK>{SuspendStarted}"),
]
WORDS = {
    "before_suspend": "SAG->>server: SuspendStarted",
    "acquire": "server->>SAG: AcquireWakeLease",
    "granted": "SAG->>server: EventPair",
    "ack before_suspend": "server->>SAG: <ACK>{SuspendStarted}",
    "after_resume": "SAG->>server: Resume",
    "ack after_resume": "server->>SAG: <ACK>{Resume}",
    "down": "SAG->>HAL: RequestSuspend",
}


class Channel(Memory):
    """Writes down the first request, and each baton when it is sent."""

    def __init__(self, set_requester: Any, lines: list[str]) -> None:
        self.lines = lines

        def saying(request: Any) -> None:
            if "client->>server: ReceiveBatons" not in lines:
                lines.append("client->>server: ReceiveBatons")
            deliver = request.deliver

            def delivered(wake_lease: object, index: int, epoch: int) -> None:
                lines.append(f"server->>client: SendBaton{{idx: {index}}}")
                deliver(wake_lease, index, epoch)

            request.deliver = delivered
            set_requester(request)

        super().__init__(saying)


@on_a_loop
async def test_what_happens_is_the_diagram_of_the_seed_but_for_two_deviations() -> None:
    governor = Small()
    lines = governor.log  # the governor's own lines go there, too
    tracker, running = await awake(SequenceServer(governor))
    lines.append("client->>server: ReceiveMsgs")
    client = SequenceClient(Channel(tracker.set_requester, lines))  # type: ignore[arg-type]
    client.run()
    await asyncio.sleep(0)

    async def send(number: int) -> None:
        lines.append(f"server->>client: SendMsg{{{number}}}")
        await tracker.message_sent()

    def process(number: int) -> None:
        lines.append(f"client->>client: processMsg{{{number}}}")
        baton = client.process_message(keep=True)
        if baton is not None:
            lines.append(f"client->>client: dropBaton{{{number}}}")
            baton.close()

    for number in (1, 2):
        await send(number)
    process(1)
    for number in (3, 4):
        await send(number)
    process(2)
    assert not await governor.attempt()
    await until(lambda: client.holding)
    process(3)
    process(4)
    await governor.suspend()
    expected = list(SEED)
    for line, before in DEVIATIONS:
        expected.remove(line)
        expected.insert(expected.index(before), line)
    said = [WORDS.get(line, line) for line in lines]
    assert said[: said.index(WORDS["down"]) + 1] == expected
    client.close()
    await stop(running)


def test_a_baton_is_what_the_seed_says() -> None:
    """A lease and a message index, and here besides the subscription that it counts in."""
    assert Baton.__slots__ == ("wake_lease", "index", "epoch")
