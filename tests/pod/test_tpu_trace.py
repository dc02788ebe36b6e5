"""Programs of a TPU's cores, traced under its own strategy over CPUs."""

import collections

import pytest
import tensorflow as tf

from noisy_student_tf.devices import replicas
from noisy_student_tf.training import state, step
from tests import strategies
from tests.training import test_step, tiny


def trace_steps(**overrides):
    """Return the graph of some steps: operation -> names of its nodes."""
    configuration = tiny.make_config(**overrides)
    made = tiny.make_durations(configuration)
    strategy = strategies.tpu(2)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategy,
        source=state.ModelSource(build=lambda: tiny.build(synchronized=True)),
        schedule=made.learning_rate(configuration),
    )
    stream = replicas.distribute(
        tiny.make_stream,
        start_step=0,
        strategy=strategy,
        labeled_batch_size=4,
        unlabeled_batch_size=8,
    )
    train_steps = step.make_train_steps(
        train_state, test_step.make_settings(configuration, made), strategy
    )
    traced = train_steps.get_concrete_function(iter(stream), tf.constant(2))
    return traced.graph.as_graph_def()


def num_nodes(graph):
    """Count the nodes of a graph and its functions by their operation."""
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes.extend(function.node_def)
    return collections.Counter(node.op for node in nodes)


@pytest.mark.parametrize(
    "overrides",
    [{}, {"optimizer.name": "lamb", "optimizer.global_clip_norm": 1.0}],
    ids=["rmsprop", "lamb"],
)
def test_the_step_is_one_program_of_the_cores(overrides):
    counts = num_nodes(trace_steps(**overrides))
    assert counts["TPUReplicateMetadata"] == 1
    assert counts["CrossReplicaSum"] > 0


def test_parts_of_a_batch_are_a_loop_within_one_program():
    counts = num_nodes(trace_steps(**{"training.accumulation_steps": 2}))
    # One for the loop over the parts and the update after it.
    assert counts["TPUReplicateMetadata"] == 1
    assert counts["CrossReplicaSum"] > 0


def test_metrics_leave_one_core_alone():
    graph = trace_steps()
    (nodes,) = (
        function.node_def
        for function in graph.library.function
        if any(node.op == "TPUReplicatedOutput" for node in function.node_def)
    )
    (metrics,) = (
        node.name for node in nodes if node.op == "TPUReplicatedOutput"
    )

    def readers(tensor):
        """Return the operations that a tensor reaches, past its copies."""
        found = set()
        for node in nodes:
            if any(name.startswith(tensor) for name in node.input):
                is_copy = node.op == "Identity"
                found |= readers(f"{node.name}:") if is_copy else {node.op}
        return found

    assert readers(f"{metrics}:outputs:0")
    assert not readers(f"{metrics}:outputs:1")


def sizes_sent(graph):
    """Return the number of elements of every tensor that enters a program."""

    def is_inside(operation):
        attributes = operation.node_def.attr
        return "_tpu_replicate" in attributes

    return [
        tensor.shape.num_elements() or 0
        for operation in graph.get_operations()
        if is_inside(operation) or operation.type == "TPUReplicatedInput"
        for tensor in operation.inputs
        if not is_inside(tensor.op) and tensor.op.type != "TPUReplicatedInput"
    ]


def test_inference_sends_a_core_its_own_rows_alone():
    images = tf.zeros([16, 3, 3, 3])
    spread = tf.function(
        replicas.spread(
            lambda rows: tf.reduce_sum(rows, [1, 2, 3]), strategies.tpu(4)
        )
    )
    traced = spread.get_concrete_function(images)
    assert num_nodes(traced.graph.as_graph_def())["TPUReplicateMetadata"] == 1
    sizes = sizes_sent(traced.graph)
    assert sizes.count(4 * 27) == 4
    assert max(sizes) == 4 * 27
