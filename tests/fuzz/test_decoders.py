"""A short run of the fuzzer, and what it would find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import MalformedPacket
from holdfast.membership import Active, Membership, Node, Postcard, notes, talk
from tests.fuzz.decoders import CORPUS, Target, corpus, fuzz, main, replay
from tests.fuzz.targets import TARGETS, Packets, Wrong, frozen


@pytest.mark.timeout(7200)  # in full; in short form some seconds
def test_whatever_comes_is_read_or_refused(full: bool) -> None:
    report = fuzz(TARGETS, seed=7, rounds=200_000 if full else 1000)
    print(report)
    assert report.failure is None, report.failure
    assert set(report.answers) == set(TARGETS)
    for name, kinds in report.answers.items():
        assert kinds > 10, f"{name} was always given the same answer"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_what_can_be_read(name: str) -> None:
    kept = corpus(name)
    assert len(kept) >= 2
    for data in kept:
        # A note is offered to two codecs, and one of them can read it.
        answers = TARGETS[name](data).split(" note " if name == "note" else "\n")
        assert not all(answer.startswith("MalformedPacket") for answer in answers)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.stem for path in CORPUS.iterdir()} == set(TARGETS)


# -- faults that must be found --------------------------------------------------------------------


def changed(**methods: Any) -> Any:
    """A codec with other methods; each is given the right one first."""
    right = Postcard(Node)

    class Changed(type(right)):  # type: ignore[misc]
        pass

    for name, method in methods.items():
        original = getattr(right, name)
        setattr(Changed, name, lambda _, *given, m=method, o=original: m(o, *given))
    codec = Changed.__new__(Changed)
    codec.__dict__.update(vars(right))
    return codec


def leaks(read: Callable[..., Any], *given: Any) -> Any:
    try:
        return read(*given)
    except MalformedPacket as error:
        raise IndexError("index out of range") from error


def misreads(read: Callable[..., Any], *given: Any) -> Any:
    header, at = read(*given)
    return header._replace(src_incarnation=header.src_incarnation & 0x7F), at


def runs_on(read: Callable[..., Any], *given: Any) -> Any:
    header, at = read(*given)
    return header, at + 1


def splits_all(_split: Callable[..., Any], data: bytes, at: int, count: int) -> Any:
    raws = []
    codec = Postcard(Node)
    for _ in range(count):
        try:
            _, end = codec.decode_members(data, at, 1)
        except MalformedPacket:
            return None
        raws.append(data[at:end])
        at = end
    return raws, at


class Touched(Membership[Node]):
    """It changes something before it refuses."""

    def handle_data(self, data: bytes, runtime: Any) -> None:
        try:
            super().handle_data(data, runtime)
        except MalformedPacket:
            self.touch(runtime)
            raise

    def touch(self, _runtime: Any) -> None:
        self._local.kin.add(Node("10.0.0.9", 9))


class Drawing(Touched):
    def touch(self, _runtime: Any) -> None:
        self._local.rng.random()


class Talking(Touched):
    def touch(self, runtime: Any) -> None:
        runtime.notify(Active())


class Raising(Touched):
    def touch(self, _runtime: Any) -> None:
        raise KeyError(1)


PLANTED: dict[str, Target] = {
    "another exception": Packets(postcard=True, codec=changed(decode_header=leaks)),
    "another exception of members": Packets(postcard=True, codec=changed(decode_members=leaks)),
    "a value that was not there": Packets(postcard=True, codec=changed(decode_header=misreads)),
    "an end that is not there": Packets(postcard=True, codec=changed(decode_header=runs_on)),
    "a short cut through the unusual": Packets(
        postcard=True, codec=changed(split_members=splits_all)
    ),
    "a change": Packets(Postcard(Node), postcard=True, engine=Touched),
    "a draw": Packets(Postcard(Node), postcard=True, engine=Drawing),
    "a word": Packets(Postcard(Node), postcard=True, engine=Talking),
    "an error of the engine": Packets(Postcard(Node), postcard=True, engine=Raising),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_is_found(fault: str) -> None:
    failure = fuzz({"postcard": PLANTED[fault]}, seed=1, rounds=3000).failure
    assert failure is not None
    assert f"--replay postcard:{failure.data.hex()}" in str(failure)
    assert len(failure.data) < 80, "it is not as short as it can be"
    with pytest.raises((Wrong, IndexError, KeyError, MalformedPacket)):
        PLANTED[fault](failure.data)
    replay(f"postcard:{failure.data.hex()}")  # the right one has no such fault


def reading_on(decoder: Any, data: bytes) -> Any:
    for end in range(len(data), 0, -1):
        try:
            return decoder.decode(data[:end])
        except Exception:  # noqa: BLE001
            continue
    raise MalformedPacket("nothing")


@pytest.mark.parametrize(
    ("module", "name", "instead", "target"),
    [
        (talk, "_read", lambda decoder, data: decoder.decode(data), "letter"),
        (talk, "_read", lambda decoder, data: decoder.decode(data), "question"),
        (talk, "node_of", lambda given: Node(*given), "page"),
        (talk, "_read", reading_on, "letter"),
        (talk, "_read", reading_on, "page"),
        (talk, "page", lambda _look, _members, room: talk.ANSWER + b"\0" * (room + 1), "question"),
        (
            notes,
            "_members",
            lambda codec, item, at, count: codec.decode_members(item, at, count)[0],
            "note",
        ),
        (notes, "_unpack", lambda form, data: form.unpack(data), "note"),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
def test_a_fault_of_what_travels_beside_is_found(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, instead: Any, target: str
) -> None:
    monkeypatch.setattr(module, name, instead)
    assert fuzz({target: TARGETS[target]}, seed=1, rounds=2000).failure is not None


def test_what_a_session_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = Packets(Postcard(Node), postcard=True)
    monkeypatch.setattr(
        "holdfast.membership.session.MembershipError", type("Other", (Exception,), {})
    )
    assert fuzz({"postcard": packets}, seed=1, rounds=100).failure is not None


def test_all_that_an_engine_knows_is_looked_at() -> None:
    engine, before = Packets(Postcard(Node), postcard=True)._make(frozenset())
    named = {name for name, _ in before}
    assert {"members", "probe", "updates", "notes", "kin", "health", "rng", "handler"} <= named
    engine._local.members.settled.add(b"x")
    assert frozen(engine._local) != before


# -- the command ----------------------------------------------------------------------------------


def test_the_command_runs_and_replays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.2", "--seed", "5", "--target", "letter"]) == 0
    assert "seed 5\nletter: " in capsys.readouterr().out
    assert main(["--replay", f"letter:{corpus('letter')[0].hex()}"]) == 0
    assert capsys.readouterr().out == "Farewell\n"


def test_the_command_tells_of_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(talk, "_read", lambda decoder, data: decoder.decode(data))
    assert main(["--seconds", "30", "--seed", "5", "--target", "letter"]) == 1
    told = capsys.readouterr().err
    assert "replay: python -m tests.fuzz.decoders --replay letter:" in told
    with pytest.raises(Exception, match=r"."):
        main(["--replay", told.split()[-1]])
