"""What a kind of database must be told in its own words: everything that differs is behind this.

`SqlStore` writes the same statements for every database. What it asks of a `Dialect`: to begin a
transaction, to lock what the isolation of that database does not protect, to look up many keys at
once, and to say what an error of the driver means.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from holdfast.errors import (
    HoldfastError,
    InvalidArgument,
    LeaseError,
    NotFound,
    NotPermitted,
    OutOfSpace,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.sql.elements import ColumnElement, CompilerElement

__all__ = ["Again", "Dialect", "Failure", "Text"]


class Failure(enum.Enum):
    """What an error of the driver means for the call that met it. Nothing was done."""

    BUSY = "busy"  # others' locks; it may be tried again
    RACED = "raced"  # others were first; the next attempt sees what they did
    GONE = "gone"  # the connection; another may work
    FULL = "full"
    DENIED = "denied"
    NOT_FOUND = "not found"
    NO_TABLES = "no tables"
    INVALID = "invalid"  # it will never do
    OTHER = "other"


class Again(Exception):
    """An attempt that did nothing, and that may do better if it is made again."""

    def __init__(self, failure: Failure, error: DBAPIError | None, *, reused: bool = False) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.error = error
        self.reused = reused


class Text(NamedTuple):
    """A statement as the driver takes it.

    Attributes:
        words: With parameters by name.
        given: Those that have a value already.
        statement: What it was made of: as long as that lives, its `id` is nobody else's.
    """

    words: str
    given: Mapping[str, Any]
    statement: CompilerElement


class Dialect(ABC):
    """One database of one kind.

    Args:
        url: Where it is.
        busy_s: How long to wait for others.

    Attributes:
        where: The URL as it may be shown: without its password.
        writes_in_with: Whether one statement may write several tables (WITH ... INSERT).

    Raises:
        InvalidArgument: The URL names no database that several processes can reach.
        Unsupported: Its driver is not installed, or is none that we know.
    """

    name: ClassVar[str]
    writes_in_with: ClassVar[bool]
    engine: sa.Engine

    def __init__(self, url: sa.URL, busy_s: float) -> None:
        self.busy_s = busy_s
        self.where = url.render_as_string()
        self._texts: dict[int, Text] = {}

    def text_of(self, statement: CompilerElement) -> Text:
        """A statement in this database's words. It is kept, and so is what was made of it."""
        known = self._texts.get(id(statement))
        if known is None:
            compiled = statement.compile(dialect=self.words())
            given = {key: value for key, value in compiled.params.items() if value is not None}
            known = self._texts[id(statement)] = Text(str(compiled), given, statement)
        return known

    def words(self) -> sa.Dialect:
        """How SQLAlchemy writes statements with named parameters for the driver."""
        return self.engine.dialect

    @abstractmethod
    def say(self, driver: Any, text: str, values: Mapping[str, Any]) -> Any:
        """Execute it on the driver's connection; the cursor."""

    @abstractmethod
    def prepare(self, connection: sa.Connection) -> None:
        """Make a new connection ready."""

    def leads_astray(self, connection: sa.Connection) -> bool:
        """Whether a connection goes to another place by now than a new one would."""
        return False

    @abstractmethod
    def begin(self, connection: sa.Connection, *, write: bool) -> None:
        """The first words of a transaction."""

    @abstractmethod
    def lock_pins(self, connection: sa.Connection, namespace: str, name: str) -> None:
        """Until the end of the transaction, the pins of that name stay as they are."""

    @abstractmethod
    def lock_holding(self, connection: sa.Connection, key: dict[str, str], *, wait: bool) -> bool:
        """Until the end of the transaction, nobody hands that lease over, nor gates by it.

        Returns:
            False if there is none, or somebody has locked it and `wait` is not wanted.
        """

    @abstractmethod
    def insert_missing(self, table: sa.Table, **values: Any) -> sa.Insert:
        """The statement that inserts a row unless there is one of its key."""

    @abstractmethod
    def begin_batch(self, connection: sa.Connection) -> None:
        """Statements with `among` follow, until the end of the transaction."""

    @abstractmethod
    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """That a column is one of many values: one parameter, and a look at its index for each."""

    @abstractmethod
    def meaning(self, error: DBAPIError) -> Failure:
        """What an error before the commit means."""

    @abstractmethod
    def refused(self, error: DBAPIError) -> bool:
        """Whether an error of the commit itself says with certainty that nothing was committed."""

    @abstractmethod
    def blockers(self, connection: sa.Connection | None) -> str:
        """Who keeps the database busy, in words, as far as it can be seen; "" if it cannot."""

    def explain(self, again: Again, connection: sa.Connection | None = None) -> HoldfastError:
        """The error for the caller, when no more attempts are made."""
        failure, where = again.failure, self.where
        said = str(again.error.orig) if again.error is not None else "others were always first"
        said = " ".join(said.split())
        match failure:
            case Failure.BUSY:
                who = self.blockers(connection)
                return Unavailable(
                    f"the database is busy: {who or said}",
                    on=where,
                    hint="nothing was done; try again, and keep write transactions short",
                )
            case Failure.RACED:
                return Unavailable(
                    f"the records change too quickly: {said}", on=where, hint="try again later"
                )
            case Failure.FULL:
                return OutOfSpace(
                    f"the database has no room left: {said}",
                    on=where,
                    hint="nothing was done; make room, and call again",
                )
            case Failure.DENIED:
                return NotPermitted(
                    f"the database may not be used: {said}",
                    on=where,
                    hint="leases need to read and write their tables, and their directory",
                )
            case Failure.NOT_FOUND:
                return NotFound(
                    f"there is no such database: {said}", on=where, hint=self.hint_to_make()
                )
            case Failure.NO_TABLES:
                return LeaseError(
                    f"the tables of leases are gone or incomplete: {said}",
                    on=where,
                    hint="restore them: in new ones, epochs would begin anew",
                )
            case Failure.INVALID:
                return InvalidArgument(f"the database cannot take it: {said}", on=where)
            case Failure.GONE | Failure.OTHER:
                return Unavailable(
                    f"the database cannot be reached: {said}"
                    if failure is Failure.GONE
                    else f"the database refused: {said}",
                    on=where,
                    hint="nothing was done; the next call connects anew",
                )

    def hint_to_make(self) -> str:
        """What to do if there is no database."""
        return "make it first; the tables are made by themselves"
