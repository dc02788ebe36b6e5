from noisy_student_tf import configs
from noisy_student_tf.training import progress


def test_few_images_still_make_a_least_number_of_steps():
    training = configs.TrainingConfig(labeled_batch_size=16)
    config = configs.Config(training=training)
    few, many = (
        progress.make_durations(
            config,
            num_labeled=num_labeled,
            epochs=4.0,
            has_unlabeled=False,
            min_steps=100,
        )
        for num_labeled in (80, 800)
    )
    # 4 epochs of 80 images are 20 steps, of 800 they are 200.
    assert (few.total_steps, many.total_steps) == (100, 200)
