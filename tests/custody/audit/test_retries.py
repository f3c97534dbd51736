"""A question is asked again, not without end, and less often where nothing is answered."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.retries import MOST_TRIES, PERSISTENT_AFTER, Retries
from orthanc_gcp.errors import GcpError


class Server:
    def __init__(self, *answers):
        self.answers, self.waited, self.asked = list(answers), [], 0
        self.retries = Retries(self.wait, self.before)
        self.stopping = False

    def wait(self, seconds):
        self.waited.append(seconds)
        return self.stopping

    def before(self):
        self.asked += 1

    def ask(self, pause=0):
        def question():
            answer = self.answers.pop(0) if self.answers else GcpError("away")
            if isinstance(answer, GcpError):
                raise answer
            return answer

        return self.retries.ask(question, lambda _: pause)


def test_an_answer_at_last():
    server = Server(GcpError("away"), GcpError("away"), 7)
    assert server.ask() == 7
    first, second = server.waited
    assert 0.5 <= first <= 1.0 <= second <= 2.0
    assert server.asked == 3


def test_as_late_as_it_is_asked_to():
    server = Server(GcpError("busy"), 7)
    assert server.ask(pause=11) == 7
    assert server.waited == [11]


def test_not_without_end():
    server = Server()
    with pytest.raises(GcpError, match="away"):
        server.ask()
    assert server.asked == MOST_TRIES


def test_a_refusal_is_final():
    server = Server()
    for _ in range(2 * PERSISTENT_AFTER):
        with pytest.raises(GcpError):
            server.ask(pause=None)
    assert server.asked == 2 * PERSISTENT_AFTER
    server.asked = 0
    with pytest.raises(GcpError):
        server.ask()
    assert server.asked == MOST_TRIES, "refusals are answers"


def test_once_where_nothing_is_answered_until_something_is():
    server = Server()
    for _ in range(PERSISTENT_AFTER + 2):
        with pytest.raises(GcpError):
            server.ask()
    assert server.asked == MOST_TRIES * PERSISTENT_AFTER + 2
    server.answers = [7, GcpError("busy"), 8]
    assert (server.ask(), server.ask()) == (7, 8)


def test_an_audit_that_is_to_end_does_not_wait():
    server = Server()
    server.stopping = True
    with pytest.raises(GcpError):
        server.ask()
    assert server.asked == 1
