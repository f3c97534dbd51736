"""What no thread can be started for is never done, or it is done once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orthanc_gcp.thread_pools import is_shut_down, submit
from tests.support.threads import no_threads

__all__ = ["no_threads"]


def test_a_result_and_an_error():
    with ThreadPoolExecutor(1) as pool:
        assert submit(pool, lambda: 1).result(20) == 1
        with pytest.raises(ZeroDivisionError):
            submit(pool, lambda: 1 / 0).result(20)


def test_what_no_thread_can_be_started_for_is_not_done_later(no_threads):
    done = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RuntimeError, match="thread") as caught:
            submit(pool, lambda: done.append("before"))
        assert not is_shut_down(caught.value)
        no_threads()
        submit(pool, lambda: done.append("after")).result(20)
    assert done == ["after"]


def test_what_another_thread_has_begun_with_is_done():
    """It was idle when it was asked for, and took what was in the queue."""

    class Late(ThreadPoolExecutor):
        def submit(self, task, /, *given):
            taken = super().submit(task, *given)
            begun.wait(20)
            raise RuntimeError("can't start new thread")
            return taken

    begun, go = threading.Event(), threading.Event()

    def task():
        begun.set()
        return go.wait(20)

    with Late(1) as pool:
        found = submit(pool, task)
        go.set()
        assert found.result(20) is True


def test_a_pool_that_is_shut_down():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError) as caught:
        submit(pool, int)
    assert is_shut_down(caught.value)
