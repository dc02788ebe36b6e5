import functools

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.model import architectures
from noisy_student_tf.training import fixres, loop, progress, state
from tests.model import small_specs
from tests.training import tiny


def fine_tune(directory, settings):
    """Return the weights before and after two steps, by their paths."""
    configuration = tiny.make_config(**{"optimizer.schedule": "constant"})
    start = tiny.build()
    for variable in start.weights:
        variable.assign(variable + 0.01)

    def load(model):
        model.set_weights(start.get_weights())

    task = progress.Task(
        config=configuration,
        durations=tiny.make_durations(
            configuration, total_steps=2, has_unlabeled=False
        ),
        directory=str(directory),
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        models=state.ModelSource(
            build=tiny.build,
            load_weights=load,
            choose_trained=lambda model: fixres.trainable_variables(
                model, settings
            ),
        ),
        make_stream=functools.partial(tiny.make_stream, num_unlabeled=0),
        evaluate=tiny.evaluate,
        title="fixres",
    )
    return start, loop.train(task)


def moved(start, model):
    """Return the layers of which a variable changed."""
    names = set()
    for name in vars_of(model):
        before, after = vars_of(start)[name], vars_of(model)[name]
        if not all(
            np.array_equal(a, b)
            for a, b in zip(before.weights, after.weights, strict=True)
        ):
            names.add(name)
    return names


def vars_of(model):
    layers = {
        name: getattr(model, name)
        for name in (
            "stem_conv",
            "stem_norm",
            "head_conv",
            "head_norm",
            "classifier",
        )
    }
    return layers | {f"block_{i}": b for i, b in enumerate(model.blocks)}


def test_classifier_and_last_norm_alone_move(tmp_path):
    start, result = fine_tune(tmp_path, configs.FixResConfig())
    assert moved(start, result.model) == {"head_norm", "classifier"}
    assert moved(start, result.ema_model) == {"head_norm", "classifier"}


def test_stem_and_first_blocks_stay_with_their_statistics(tmp_path):
    settings = configs.FixResConfig(
        trainable="after_frozen_blocks", frozen_blocks=1
    )
    start, result = fine_tune(tmp_path, settings)
    assert moved(start, result.model) == {
        "block_1",
        "head_conv",
        "head_norm",
        "classifier",
    }


def test_variables_are_chosen_by_layer():
    names = [
        variable.name
        for variable in fixres.trainable_variables(
            tiny.build(), configs.FixResConfig()
        )
    ]
    assert sorted(names) == ["beta", "bias", "gamma", "kernel"]


def test_more_frozen_blocks_than_there_are_is_an_error():
    settings = configs.FixResConfig(
        trainable="after_frozen_blocks", frozen_blocks=3
    )
    with pytest.raises(ValueError, match="frozen_blocks=3: the model has 2"):
        fixres.trainable_variables(tiny.build(), settings)


def test_stem_and_first_blocks_keep_their_weights():
    model = architectures.build(small_specs.make_spec(width=0.1, depth=0.1))
    trained = fixres.after_frozen_blocks(
        model, 5, flag="training.frozen_blocks"
    )
    expected = [
        *model.blocks[5:],
        model.head_conv,
        model.head_norm,
        model.classifier,
    ]
    assert set(map(id, trained)) == {
        id(variable)
        for layer in expected
        for variable in layer.trainable_variables
    }
