import asyncio
import threading

import pytest

from noisy_student_tf.serving import batching


class Model:
    """Answers with lengths, when it is allowed to."""

    def __init__(self):
        self.batches = []
        self.may_answer = threading.Event()
        self.has_begun = threading.Event()

    def __call__(self, pictures):
        self.batches.append(list(pictures))
        self.has_begun.set()
        assert self.may_answer.wait(10)
        if b"bad" in pictures:
            raise RuntimeError("a bad batch")
        return [len(each) for each in pictures if each != b"unanswered"]


def run(use, **limits):
    """Return what `use` returns, and the model, of a batcher that runs."""
    model = Model()

    async def with_batcher():
        batcher = batching.Batcher(model, batching.Limits(**limits))
        async with batcher.running():
            return await use(batcher, model)

    return asyncio.run(with_batcher()), model


async def begin(batcher, model, pictures):
    """Let the model have its first picture; others wait meanwhile."""
    first = asyncio.create_task(batcher.answer([b"x"]))
    await asyncio.to_thread(model.has_begun.wait, 10)
    others = [asyncio.create_task(batcher.answer([each])) for each in pictures]
    await asyncio.sleep(0)
    return first, others


def test_what_waits_goes_together():
    async def use(batcher, model):
        first, others = await begin(batcher, model, [b"aa", b"bbb", b"c" * 4])
        assert batcher.num_waiting == 3
        model.may_answer.set()
        return await asyncio.gather(first, *others)

    answers, model = run(use, max_batch_size=2)
    assert answers == [[1], [2], [3], [4]]
    assert model.batches == [[b"x"], [b"aa", b"bbb"], [b"cccc"]]


def test_pictures_of_one_request_keep_their_order():
    async def use(batcher, model):
        model.may_answer.set()
        return await batcher.answer([b"a" * n for n in range(1, 8)])

    answers, model = run(use, max_batch_size=3)
    assert answers == list(range(1, 8))
    assert [len(batch) for batch in model.batches] == [3, 3, 1]


def test_a_full_queue_takes_no_more_and_keeps_what_it_has():
    async def use(batcher, model):
        first, others = await begin(batcher, model, [b"aa", b"bb"])
        with pytest.raises(batching.QueueFullError, match="2 pictures"):
            await batcher.answer([b"cc"])
        model.may_answer.set()
        return await asyncio.gather(first, *others)

    answers, _ = run(use, max_waiting=2)
    assert answers == [[1], [2], [2]]


def test_a_client_that_hung_up_is_left_out():
    async def use(batcher, model):
        first, (gone, stays) = await begin(batcher, model, [b"gone", b"stays"])
        gone.cancel()
        await asyncio.sleep(0)
        model.may_answer.set()
        return await asyncio.gather(first, stays)

    answers, model = run(use)
    assert answers == [[1], [5]]
    assert model.batches == [[b"x"], [b"stays"]]


def test_a_batch_that_fails_is_not_the_last():
    async def use(batcher, model):
        model.may_answer.set()
        with pytest.raises(RuntimeError, match="a bad batch"):
            await batcher.answer([b"bad"])
        with pytest.raises(ValueError, match="shorter"):
            await batcher.answer([b"unanswered"])
        return await batcher.answer([b"good"])

    answers, _ = run(use)
    assert answers == [4]


def test_the_end_comes_when_all_is_answered():
    tasks = []

    async def use(batcher, model):
        first, others = await begin(batcher, model, [b"aa", b"bbb"])
        tasks.extend([first, *others])
        asyncio.get_running_loop().call_later(0.05, model.may_answer.set)

    _, model = run(use, max_batch_size=1)
    assert [task.result() for task in tasks] == [[1], [2], [3]]
    assert len(model.batches) == 3


def test_a_picture_waits_for_others_if_told_to():
    async def use(batcher, model):
        model.may_answer.set()
        return await asyncio.gather(
            batcher.answer([b"a"]), batcher.answer([b"bb"])
        )

    # A full batch does not wait for the time to pass.
    answers, model = run(use, max_wait_seconds=60, max_batch_size=2)
    assert answers == [[1], [2]]
    assert len(model.batches) == 1
