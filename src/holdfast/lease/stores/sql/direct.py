"""Statements that are said often: compiled once by SQLAlchemy, then said to the driver itself.

A claim in a database on a good disk takes a fifth of a millisecond. SQLAlchemy's way from a
statement to the driver takes a tenth of that for each, and a claim is made of several. What it does
on this way, caches, types, rows with names, is not needed here: numbers and strings go in, and
come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa
    from sqlalchemy.sql.elements import CompilerElement

    from holdfast.lease.stores.sql.dialect import Dialect

__all__ = ["Answer", "Direct", "explain"]


class Answer(NamedTuple):
    """What a statement gave.

    Attributes:
        rows: Tuples, in the order of the statement's columns; none if it gives none.
        written: How many rows it wrote.
    """

    rows: list[tuple[Any, ...]]
    written: int


class Direct:
    """Says statements on one connection, in whatever transaction it is.

    Args:
        dialect: The database.
        connection: An open connection to it.
    """

    __slots__ = ("_connection", "_dialect", "_driver")

    def __init__(self, dialect: Dialect, connection: sa.Connection) -> None:
        self._dialect = dialect
        self._connection = connection
        self._driver = connection.connection.driver_connection

    def __call__(self, statement: CompilerElement, values: Mapping[str, Any]) -> Answer:
        """Say it.

        Args:
            statement: One that lives as long as the program: it is compiled once.
            values: Its parameters by name.

        Raises:
            DBAPIError: As SQLAlchemy would.
        """
        text = self._dialect.text_of(statement)
        bound = {**text.given, **values}
        try:
            cursor = self._dialect.say(self._driver, text.words, bound)
            rows = cursor.fetchall() if cursor.description else []
            written = cursor.rowcount
            cursor.close()
        except Exception as error:
            explain(self._connection, error, text.words, bound)
            raise
        return Answer(rows, written)


def explain(
    connection: sa.Connection,
    error: Exception,
    words: str,
    values: Mapping[str, Any] | tuple[Any, ...],
) -> None:
    """Raise an error of the driver as SQLAlchemy does, who knows which ends a connection."""
    dialect = connection.dialect
    base = dialect.loaded_dbapi.Error
    if not isinstance(error, base):
        return
    driver = connection.connection.driver_connection
    gone = dialect.is_disconnect(error, driver, None)
    if gone:
        connection.invalidate(error)
    raise DBAPIError.instance(
        words, values, error, base, connection_invalidated=gone, dialect=dialect
    ) from error
