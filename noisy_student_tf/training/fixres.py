"""What trains, and what stays as the weights that a model begins with."""

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
        for layer in frozen:
            layer.trainable = False
        return list(model.trainable_variables)
    return after_frozen_blocks(
        model, settings.frozen_blocks, flag="fixres.frozen_blocks"
    )


def after_frozen_blocks(
    model: keras.Model, num_frozen: int, *, flag: str
) -> list[keras.Variable]:
    """Freeze the stem and the first blocks, and return what trains.

    Args:
        model: Has the attribute blocks.
        num_frozen: Blocks that stay.
        flag: That says so, for errors.

    Returns:
        The trainable variables, in the model's order.

    Raises:
        ValueError: The model has fewer blocks.
    """
    num_blocks = len(model.blocks)
    if num_frozen > num_blocks:
        raise ValueError(
            f"--{flag}={num_frozen}: the model has {num_blocks} blocks; "
            f"accepted is 0 to {num_blocks}."
        )
    # Of the stem, whatever it is, too.
    stem = model.layers[: model.layers.index(model.blocks[0])]
    for layer in [*stem, *list(model.blocks)[:num_frozen]]:
        layer.trainable = False
    return list(model.trainable_variables)
