"""A relay between a replica and Redis that can hold back messages of subscriptions."""

import asyncio
import contextlib

_SUBSCRIBE = b"SUBSCRIBE"


class Relay:
    """Forwards connections to a port. While it holds, what subscriptions would receive waits here."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    def hold(self) -> None:
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)
        with contextlib.suppress(OSError):
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._target)
            subscribed = asyncio.Event()
            pipes = [
                asyncio.ensure_future(self._requests(reader, redis_writer, subscribed)),
                asyncio.ensure_future(self._replies(redis_reader, writer, subscribed)),
            ]
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)
                redis_writer.close()
        writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subscribed: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if _SUBSCRIBE in data.upper():
                subscribed.set()
            writer.write(data)
            await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subscribed: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if subscribed.is_set():
                await self._flowing.wait()
            writer.write(data)
            await writer.drain()
