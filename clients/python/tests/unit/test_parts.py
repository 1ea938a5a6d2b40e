from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from world import until

from twintier import DeadlineError, Hooks, RejectedError, UnavailableError, UsageError
from twintier._asyncio import AsyncIo
from twintier._blocking import BlockingIo, complete
from twintier._breaker import Breaker
from twintier._errors import service_error
from twintier._later import Later
from twintier._observer import Observer
from twintier._recursion import loading


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_breaker_opens_after_three_failures_and_probes_each_second() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    assert [breaker.failed(), breaker.failed()] == [False, False]
    breaker.succeeded()
    assert [breaker.failed(), breaker.failed(), breaker.failed()] == [False, False, True]
    assert not breaker.admits()
    clock.now = 1.0
    assert [breaker.admits(), breaker.admits()] == [True, False]
    assert not breaker.failed()
    clock.now = 1.9
    assert not breaker.admits()
    clock.now = 2.0
    assert breaker.admits()
    breaker.succeeded()
    assert not breaker.open
    assert breaker.admits()


class Rpc(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, *details: Any) -> None:
        packed = []
        for detail in details:
            packed.append(AnyMessage())
            packed[-1].Pack(detail)
        self._code = code
        self._status = status_pb2.Status(details=packed)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "why"

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        return [("grpc-status-details-bin", self._status.SerializeToString())]


def test_errors_carry_the_details_of_the_service() -> None:
    info = error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain="twintier.dev")
    fields = error_details_pb2.BadRequest(field_violations=[{"field": "ttl"}])
    retry = error_details_pb2.RetryInfo(retry_delay={"seconds": 2})
    error = service_error(Rpc(grpc.StatusCode.INVALID_ARGUMENT, info, fields, retry))
    assert isinstance(error, RejectedError)
    assert (error.reason, error.fields, error.retry_delay) == ("INVALID_REQUEST", ("ttl",), 2)
    assert str(error) == "INVALID_ARGUMENT: why"


def test_errors_of_others_have_no_reason() -> None:
    info = error_details_pb2.ErrorInfo(reason="X", domain="elsewhere")
    error = service_error(Rpc(grpc.StatusCode.UNAVAILABLE, info))
    assert isinstance(error, UnavailableError)
    assert error.reason == ""
    assert isinstance(service_error(Rpc(grpc.StatusCode.DEADLINE_EXCEEDED)), DeadlineError)


class Failing(Hooks):
    def on_miss(self, key: str) -> None:
        raise RuntimeError(key)


def test_a_hook_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    observer = Observer((Failing(), Failing()))
    observer.miss("k")
    assert observer.counters().misses == 1
    assert len(caplog.records) == 2


def test_complete_refuses_coroutines_that_suspend() -> None:
    with pytest.raises(RuntimeError, match="a blocking operation suspended"):
        complete(asyncio.sleep(0))


class Connection:
    metadata = None


def blocking() -> BlockingIo:
    return BlockingIo(Connection())  # type: ignore[arg-type]


def test_threads_share_work_of_one_key() -> None:
    io, gate, joined = blocking(), threading.Event(), threading.Semaphore(0)
    runs = []

    async def work() -> int:
        runs.append(1)
        gate.wait()
        return 7

    def call() -> int:
        return complete(io.share("k", work, joined.release))

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(8)]
        for _ in range(7):
            assert joined.acquire(timeout=30)
        gate.set()
        assert [one.result(30) for one in calls] == [7] * 8
    assert len(runs) == 1


def test_an_interrupt_of_one_thread_lets_another_one_work() -> None:
    io, gate, joined = blocking(), threading.Event(), threading.Event()

    async def interrupted() -> int:
        gate.wait()
        raise KeyboardInterrupt

    async def work() -> int:
        return 7

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: complete(io.share("k", interrupted, lambda: None)))
        until(lambda: io._flights)
        second = pool.submit(lambda: complete(io.share("k", work, joined.set)))
        assert joined.wait(30)
        gate.set()
        assert isinstance(first.exception(30), KeyboardInterrupt)
        assert second.result(30) == 7


def test_errors_are_shared_unchanged() -> None:
    io = blocking()

    async def work() -> int:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        complete(io.share("k", work, lambda: None))
    assert not io._flights


def test_a_load_that_waits_for_itself_is_refused() -> None:
    io = blocking()

    async def inner() -> int:
        return 1

    async def outer() -> int:
        with loading("k"):
            return await io.share("k", inner, lambda: None)

    with pytest.raises(UsageError, match="must not request the key that it loads"):
        complete(io.share("k", outer, lambda: None))


def test_forgotten_work_is_not_joined() -> None:
    io = blocking()
    order = []

    async def second() -> int:
        return 2

    async def first() -> int:
        io.forget(lambda key: key == "k")
        order.append(await io.share("k", second, lambda: None))
        return 1

    assert complete(io.share("k", first, lambda: None)) == 1
    assert order == [2]


def test_a_full_pool_takes_no_more() -> None:
    io, gate = blocking(), threading.Event()

    async def work() -> None:
        gate.wait()

    taken = [io.background(work()) for _ in range(40)]
    gate.set()
    assert taken == [True] * 32 + [False] * 8
    complete(io.close(30))
    assert not io.background(work())


def test_a_cancelled_task_does_not_cancel_the_work_of_others() -> None:
    async def main() -> list[Any]:
        io, gate, joined = AsyncIo(Connection()), asyncio.Event(), asyncio.Event()  # type: ignore[arg-type]

        async def work() -> int:
            await gate.wait()
            return 7

        first = asyncio.create_task(io.share("k", work, lambda: None))
        await asyncio.sleep(0)
        second = asyncio.create_task(io.share("k", work, joined.set))
        await joined.wait()
        first.cancel()
        gate.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    answers = asyncio.run(main())
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == 7


def test_the_queue_of_writes_drops_the_oldest() -> None:
    io, observer = blocking(), Observer(())
    later = Later(3, io, observer)
    gate, begun, done = threading.Event(), threading.Event(), []

    def write(number: int) -> Any:
        async def run() -> bool:
            begun.set()
            gate.wait()
            done.append(number)
            return True

        return run

    assert later.put(write(0))
    assert begun.wait(30)
    for number in range(1, 6):
        assert later.put(write(number))
    assert observer.counters().later_dropped == 2
    gate.set()
    assert complete(later.drain(30))
    assert done == [0, 3, 4, 5]
    assert not later.put(write(9))
    assert observer.counters().later_dropped == 3


def test_a_drain_that_takes_too_long_counts_what_is_lost() -> None:
    io, observer = blocking(), Observer(())
    later = Later(3, io, observer)
    gate, begun = threading.Event(), threading.Event()

    async def stuck() -> bool:
        begun.set()
        gate.wait()
        return True

    later.put(stuck)
    assert begun.wait(30)
    later.put(stuck)
    assert not complete(later.drain(0.01))
    assert observer.counters().later_dropped == 1
    gate.set()
