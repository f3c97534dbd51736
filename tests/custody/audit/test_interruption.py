"""A signal ends an audit, but for what has to be done to its end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from orthanc_gcp.custody.audit.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_once(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert interruption.requested
        assert interruption.wait(60), "nobody waits any more"
    assert signal.getsignal(number) is before


def test_not_inside_a_guard():
    done = []
    with Interruption() as interruption, pytest.raises(KeyboardInterrupt), interruption.guarded():
        with interruption.guarded():
            os.kill(os.getpid(), signal.SIGINT)
        done.append("written")
    assert done == ["written"]


def test_an_error_inside_a_guard_is_not_hidden():
    with Interruption() as interruption, pytest.raises(ValueError, match="mine"):  # noqa: SIM117
        with interruption.guarded():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("mine")


def test_in_another_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)

    def run():
        with Interruption() as interruption:
            seen.append((signal.getsignal(signal.SIGINT) is before, interruption.wait(0)))

    seen = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(True, False)]
