"""PostgreSQL ends a session exactly when it is written down what became of a batch."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.schema import transfers
from tests.custody.life_of_one import emulator, life
from tests.support.orthanc_life import file_of

__all__ = ["emulator", "life"]

TIMES = 3


@pytest.mark.parametrize("engine", ["PostgreSQL"], indirect=True)
@pytest.mark.parametrize("is_written", [False, True])
def test_what_was_sent_is_confirmed_all_the_same(life, engine, is_written):
    """Whether it was written down is not known to who has tried."""
    own = life.workers[0]._engine
    ended, settling = [], []

    def end(pid):
        ended.append(pid)
        with engine.connect() as connection:
            connection.execute(sql.select(sql.func.pg_terminate_backend(pid)))

    def note(connection, _cursor, statement, *_more):
        if statement.startswith(f"UPDATE {transfers.name}") and "sent_as" in statement:
            settling.append(connection.connection.dbapi_connection.info.backend_pid)
            if not is_written and len(ended) < TIMES:
                end(settling.pop())

    def commit(connection, committed=own.dialect.do_commit):
        committed(connection)
        if settling and len(ended) < TIMES:
            end(settling.pop())
            connection.cursor().execute("SELECT 1")

    sql.event.listen(own, "before_cursor_execute", note)
    own.dialect.do_commit = commit
    for number in range(2 * TIMES):
        life.receive(life.orthancs[0].index, file_of(0, number, 0, number, 0))
        life.run()
    life.run(120)
    assert len(ended) == TIMES
    assert set(life.states().values()) == {("confirmed", None)}
    assert len(life.states()) == 2 * TIMES
