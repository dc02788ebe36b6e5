"""What trains when a model is fine-tuned at a higher resolution."""

import keras

from noisy_student_tf import configs


def trainable_variables(
    model: keras.Model, settings: configs.FixResConfig
) -> list[keras.Variable]:
    """Freeze the layers that stay, and return the variables that train.

    Frozen batch normalization runs in inference mode: its statistics, and
    with them the features below the trained layers, stay as they are.
    Stochastic depth and dropout stay active where the model has them.

    Args:
        model: Has the attributes blocks, head_norm and classifier.
        settings: `trainable` names the choice, `frozen_blocks` its depth.

    Returns:
        The trainable variables, in the model's order.

    Raises:
        ValueError: More blocks are to be frozen than the model has.
    """
    if settings.trainable == "classifier_and_last_norm":
        # FixRes itself trains these two.
        trained = (model.head_norm, model.classifier)
        frozen = [layer for layer in model.layers if layer not in trained]
    else:
        num_blocks = len(model.blocks)
        if settings.frozen_blocks > num_blocks:
            raise ValueError(
                f"--fixres.frozen_blocks={settings.frozen_blocks}: the model "
                f"has {num_blocks} blocks; accepted is 0 to {num_blocks}."
            )
        # Of the stem, whatever it is, too.
        stem = model.layers[: model.layers.index(model.blocks[0])]
        frozen = [*stem, *list(model.blocks)[: settings.frozen_blocks]]
    for layer in frozen:
        layer.trainable = False
    return list(model.trainable_variables)
