"""Statements without their values, and one name for all executions of one statement."""

import pytest

from daemon.postgres.slow_queries import fingerprint, normalized


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT  a\n  FROM b", "SELECT a FROM b"),
        ("SELECT 'it''s' , E'a\\'b'", "SELECT ? , E?"),
        ("SELECT 1, -2.5, 3e-7 FROM t", "SELECT ?, -?, ? FROM t"),
        ("SELECT volume_24h, t1.x2 FROM t1", "SELECT volume_24h, t1.x2 FROM t1"),
        ("WHERE a = %s AND b = %(name)s AND c = $1", "WHERE a = ? AND b = ? AND c = ?"),
        ("WHERE a IN (1, 2, 3)", "WHERE a IN (?)"),
        ("WHERE a IN (%(a_1)s::VARCHAR, %(a_2)s::VARCHAR)", "WHERE a IN (?)"),
        ("VALUES (1, 'x'), (2, 'y'), (3, 'z')", "VALUES (?)"),
        ("SELECT $$body with 'secret'$$, $tag$other$tag$ FROM t", "SELECT ?, ? FROM t"),
        ("SELECT a -- secret\nFROM t /* secret\n more */ WHERE b", "SELECT a FROM t WHERE b"),
    ],
)
def test_no_value_is_left(statement: str, shown: str) -> None:
    assert normalized(statement) == shown


def test_values_do_not_change_the_fingerprint_but_the_statement_does() -> None:
    one = fingerprint("SELECT * FROM t WHERE a IN (1, 2) AND b = 'x'")
    same = fingerprint("SELECT *\nFROM t WHERE a IN (5, 6, 7) AND b = 'secret'")
    other = fingerprint("SELECT * FROM u WHERE a IN (1, 2) AND b = 'x'")
    assert one == same != other
