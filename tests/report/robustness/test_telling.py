from noisy_student_tf.report.robustness import telling

FLAG = "--evaluation.robustness_images"


def row(model, interval, not_told_from=(), *, num_images=60):
    return {
        "model": model,
        "resolution": 24,
        "title": model.replace("_", " ").capitalize(),
        "measure": "corruptions",
        "num_compared": num_images,
        "mce_interval_95": interval,
        "not_told_from": [[name, 24] for name in not_told_from],
    }


def attack(model, interval, not_told_from=()):
    return {
        **row(model, None, not_told_from),
        "measure": "fgsm",
        "interval_95": interval,
    }


def test_a_page_names_the_pairs_and_what_would_tell_them_apart():
    rows = [
        row("teacher", [100, 100]),
        row("student_1", [54, 66], ["student_2"]),
        row("student_2", [44, 56], ["student_1"]),
    ]
    first, second = telling.describe(rows, "images", FLAG)
    assert first == (
        "These 60 images do not tell apart: Student 1 and Student 2."
    )
    # Six points to either side: three take four times the images.
    assert "reaches 6 points" in second
    assert f"About 250 images would give 3 ({FLAG}" in second


def test_narrow_intervals_ask_for_nothing_more():
    rows = [row("teacher", [100, 100]), row("student_1", [58, 62])]
    assert telling.describe(rows, "images", FLAG) == [
        "These 60 images tell all models apart."
    ]


def test_few_images_are_said_to_tell_nothing():
    rows = [
        row("teacher", None, ["student_1"], num_images=10),
        row("student_1", None, ["teacher"], num_images=10),
    ]
    (sentence,) = telling.describe(rows, "sequences", FLAG)
    assert sentence.startswith("10 sequences are too few to tell any of these")


def test_of_earlier_runs_nothing_is_said():
    assert telling.describe([{"measure": "corruptions"}], "images", FLAG) == []
    assert telling.describe_attacks({"FGSM 2": [{"measure": "fgsm"}]}) == []


def test_attacks_name_the_pairs_of_each_strength():
    of_kinds = {
        "no attack": [
            attack("teacher", [0.7, 0.9]),
            attack("student_1", [0.9, 1.0]),
        ],
        "FGSM 2": [
            attack("teacher", [0.4, 0.64], ["student_1"]),
            attack("student_1", [0.5, 0.7], ["teacher"]),
        ],
    }
    (sentence,) = telling.describe_attacks(of_kinds)
    assert "certain to 12 points" in sentence
    assert sentence.endswith("FGSM 2: Teacher and Student 1.")
