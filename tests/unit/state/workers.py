"""What processes started by multiprocessing are told to do; they import it by this name."""

from __future__ import annotations

from multiprocessing.connection import Connection

from holdfast.state import State, Transaction


def add_one(txn: Transaction) -> None:
    number = int.from_bytes(txn.data, "little") + 1
    txn.data[:] = number.to_bytes(len(txn.data), "little")


def count(state: State, times: int) -> None:
    """Add one so many times, each in a transaction of its own."""
    for _ in range(times):
        state.transact(add_one)


def introduce(state: State, answers: Connection) -> None:
    """Say who has arrived, and through which subscription."""
    answers.send((state.incarnation, state.permissions, state.read(), state.info().others))
