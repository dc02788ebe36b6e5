import functools
import socket

import pytest

from noisy_student_tf.pipeline import data_service, train_stream
from run_scripts import make_input

from . import conftest, train_streams


@pytest.fixture(scope="module")
def servers():
    """Give the addresses of two servers, each with its worker."""
    started = [make_input.start(port=0, host="localhost") for _ in range(2)]
    # They end when nothing holds them.
    yield [
        dispatcher.target.removeprefix("grpc://") for dispatcher, _ in started
    ]
    del started


@pytest.fixture(scope="module")
def make_stream(labeled, pseudo_labeled):
    return functools.partial(
        train_stream.make_train_stream,
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        config=conftest.config.__wrapped__(),
        resolution=8,
        num_classes=conftest.NUM_CLASSES,
    )


def test_batches_of_servers_are_those_without_them(servers, make_stream):
    served = data_service.through(make_stream, servers)
    # From the middle, as after a restart, and over the end of an epoch.
    for start_step in (0, 7):
        stream = served(start_step=start_step)
        plain = make_stream(start_step=start_step)
        assert stream.element_spec == plain.element_spec
        train_streams.assert_same(
            train_streams.take(stream, 13), train_streams.take(plain, 13)
        )


def test_each_host_gets_its_own_rows_of_servers(servers, make_stream):
    # One row of each half from a server: 2 hosts x 1 server, and reversed.
    served = data_service.through(make_stream, servers[:1])
    part = {"input_pipelines": 2, "input_pipeline_index": 1}
    train_streams.assert_same(
        train_streams.take(served(start_step=3, **part), 4),
        train_streams.take(make_stream(start_step=3, **part), 4),
    )


def test_rows_of_hosts_and_servers_lie_where_they_belong():
    asked = []

    def make_stream(**part):
        asked.append(part)
        raise InterruptedError

    served = data_service.through(make_stream, ["a:1", "b:1", "c:1"])
    with pytest.raises(InterruptedError):
        served(start_step=5, input_pipelines=2, input_pipeline_index=1)
    # Host 1 of 2 has the rows 1, 3, 5, ...; of these the first server makes
    # 1, 7, 13, ...
    assert asked == [
        {"start_step": 5, "input_pipelines": 6, "input_pipeline_index": 1}
    ]


def test_addresses_are_read():
    assert data_service.read_addresses(" a:1, [::1]:2,") == ("a:1", "[::1]:2")
    assert data_service.read_addresses("") == ()


@pytest.mark.parametrize("text", ["host", "grpc://host:1", "host:port", ":1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="Accepted is HOST:PORT"):
        data_service.read_addresses(text)


def test_a_server_that_does_not_answer_is_named():
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        address = f"localhost:{bound.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"no answer from {address}"):
            data_service.check_reachable([address])
