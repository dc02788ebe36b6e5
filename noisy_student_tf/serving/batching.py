"""Pictures of many requests, classified together.

A batch is what waits when the model is free: one picture under little load,
and as many as fit under much. Waiting longer for a fuller batch is optional.
"""

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent import futures
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class QueueFullError(RuntimeError):
    """So many pictures wait that another one is not taken."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How many pictures go together, and how many wait.

    Attributes:
        max_batch_size: Pictures that are classified at once.
        max_wait_seconds: For how long a picture waits for others while the
            model is free.
        max_waiting: Pictures that wait before others are refused.
    """

    max_batch_size: int = 32
    max_wait_seconds: float = 0.0
    max_waiting: int = 256


@dataclasses.dataclass
class _Waiting(Generic[Answer]):
    picture: bytes
    answer: asyncio.Future[Answer]


class Batcher(Generic[Answer]):
    """Deals batches of what waits to one thread, which has the model.

    Used in one event loop, within `running`.
    """

    def __init__(
        self,
        classify: Callable[[Sequence[bytes]], Sequence[Answer]],
        limits: Limits,
        *,
        count_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Say what classifies.

        Args:
            classify: Encoded pictures -> an answer each, in their order;
                called by one thread, for one batch after the other.
            limits: Of batches and of what waits.
            count_batch: Is told the size of every batch.
        """
        self._classify = classify
        self._limits = limits
        self._count_batch = count_batch
        self._waiting: collections.deque[_Waiting[Answer]] = collections.deque()
        self._has_come = asyncio.Event()
        self._is_full = asyncio.Event()
        self._is_closing = False

    @property
    def num_waiting(self) -> int:
        """Pictures that no batch has taken yet."""
        return len(self._waiting)

    async def answer(self, pictures: Sequence[bytes]) -> list[Answer]:
        """Return an answer for every encoded picture.

        Raises:
            QueueFullError: Too many wait already; none of these is taken.
            Exception: What `classify` raised for the batch.
        """
        if self._is_closing:
            raise QueueFullError("The server is ending.")
        limit = self._limits.max_waiting
        if self._waiting and self.num_waiting + len(pictures) > limit:
            raise QueueFullError(f"{self.num_waiting} pictures are waiting.")
        loop = asyncio.get_running_loop()
        taken = [_Waiting(each, loop.create_future()) for each in pictures]
        self._waiting.extend(taken)
        self._has_come.set()
        if self.num_waiting >= self._limits.max_batch_size:
            self._is_full.set()
        return await asyncio.gather(*(each.answer for each in taken))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer while the block runs; at its end, all that was taken."""
        with futures.ThreadPoolExecutor(1, "model") as thread:
            task = asyncio.create_task(self._run(thread))
            try:
                yield
            finally:
                self._is_closing = True
                self._has_come.set()
                self._is_full.set()
                await task

    async def _run(self, thread: futures.Executor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_come.wait()
            if not self._waiting:
                return
            await self._wait_for_more()
            batch = self._take()
            if not batch:
                continue
            pictures = [each.picture for each in batch]
            self._count_batch(len(batch))
            try:
                answers = await loop.run_in_executor(
                    thread, self._classify, pictures
                )
                pairs = list(zip(batch, answers, strict=True))
            except Exception as error:
                for each in batch:
                    # Whoever hung up meanwhile has cancelled it.
                    if not each.answer.done():
                        each.answer.set_exception(error)
                continue
            for each, answer in pairs:
                if not each.answer.done():
                    each.answer.set_result(answer)

    async def _wait_for_more(self) -> None:
        if self._limits.max_wait_seconds and not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.max_wait_seconds):
                    await self._is_full.wait()

    def _take(self) -> list[_Waiting[Answer]]:
        """Take a batch of those whose client still waits."""
        batch: list[_Waiting[Answer]] = []
        while self._waiting and len(batch) < self._limits.max_batch_size:
            each = self._waiting.popleft()
            if not each.answer.done():
                batch.append(each)
        if self.num_waiting < self._limits.max_batch_size:
            self._is_full.clear()
        if not self._waiting and not self._is_closing:
            self._has_come.clear()
        return batch
