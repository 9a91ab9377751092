"""Which database errors may pass, and what they are called then."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from jobs.core.errors import Transient, Unavailable
from jobs.store.db import as_job_error, translated


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.InterfaceError("the connection is closed"),
        errors.AdminShutdown("bye"),
        errors.CannotConnectNow("starting up"),
        errors.ConnectionFailure("lost"),
        errors.InvalidPassword("no"),
        errors.InvalidCatalogName("no such database"),
        errors.TooManyConnections("full"),
        errors.DiskFull("full"),
        errors.IdleInTransactionSessionTimeout("too long"),
    ],
)
def test_a_database_that_is_away_is_unavailable(cause: psycopg.Error) -> None:
    for exc in (cause, OperationalError("SELECT 1", {}, cause)):
        assert isinstance(as_job_error(exc), Unavailable)


@pytest.mark.parametrize(
    "cause",
    [
        errors.SerializationFailure("conflict"),
        errors.DeadlockDetected("conflict"),
        errors.LockNotAvailable("busy"),
        errors.QueryCanceled("too slow"),
    ],
)
def test_a_request_to_try_again_is_transient(cause: psycopg.Error) -> None:
    for exc in (cause, DBAPIError("SELECT 1", {}, cause)):
        found = as_job_error(exc)
        assert isinstance(found, Transient)
        assert not isinstance(found, Unavailable)


@pytest.mark.parametrize(
    "cause",
    [
        errors.UniqueViolation("twice"),
        errors.CheckViolation("never"),
        errors.UndefinedTable("where"),
        errors.SyntaxError("what"),
        psycopg.ProgrammingError("cannot adapt"),
        psycopg.DataError("no number"),
    ],
)
def test_what_cannot_pass_keeps_its_name(cause: psycopg.Error) -> None:
    for exc in (cause, IntegrityError("INSERT", {}, cause)):
        assert as_job_error(exc) is None
        with pytest.raises(type(exc)), translated():
            raise exc


def test_only_the_first_line_is_told_and_never_the_statement() -> None:
    cause = errors.AdminShutdown("ending\nDETAIL: a secret")
    exc = OperationalError("SELECT 'secret'", {"p": "secret"}, cause)
    with pytest.raises(Unavailable) as caught, translated():
        raise exc
    assert "secret" not in str(caught.value)
    assert caught.value.context == {"sqlstate": "57P01", "cause": "ending"}
    assert caught.value.__cause__ is exc


def test_other_exceptions_are_not_touched() -> None:
    with pytest.raises(KeyError), translated():
        raise KeyError
