from noisy_student_tf.evaluation import evaluate, results

_METRICS = {
    "num_images": 1234,
    "accuracy": 0.5,
    "top5_accuracy": 0.9,
    "loss": 1.25,
    "calibration_error": 0.125,
    "interval_95": [0.25, 0.75],
    "per_class_accuracy": [0.5],
    "majority_rate": 0.375,
    "macro_f1": 0.4375,
    "balanced_accuracy": 0.5,
    "auroc": 0.75,
    "average_precision": 0.625,
    "positive_class": None,
}


def make_row(model, accuracy=0.5):
    return evaluate.make_row(
        model=model,
        set="digits",
        split="test",
        resolution=32,
        weights="ema",
        metrics=_METRICS | {"accuracy": accuracy},
    )


def test_row_holds_the_schema_s_fields():
    assert make_row("teacher") == {
        "model": "teacher",
        "set": "digits",
        "split": "test",
        "resolution": 32,
        "weights": "ema",
        "num_images": 1234,
        "accuracy": 0.5,
        "top5_accuracy": 0.9,
        "loss": 1.25,
        "calibration_error": 0.125,
        "interval_95": [0.25, 0.75],
        "majority_rate": 0.375,
        "macro_f1": 0.4375,
        "balanced_accuracy": 0.5,
        "auroc": 0.75,
        "average_precision": 0.625,
        "positive_class": None,
    }


def test_row_is_added_or_replaced_in_place(tmp_path):
    path = str(tmp_path / "results.json")
    assert results.read(path) == []
    results.add(path, make_row("teacher"))
    results.add(path, make_row("student_1"))
    results.add(path, make_row("teacher", accuracy=0.75))
    rows = results.read(path)
    assert [row["model"] for row in rows] == ["teacher", "student_1"]
    assert rows[0]["accuracy"] == 0.75
    results.add(path, make_row("teacher") | {"weights": "raw"})
    assert len(results.read(path)) == 3


def test_table_is_aligned():
    table = results.format_table([make_row("teacher"), make_row("student_1")])
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("teacher    digits  test       32      ema  ")
    assert lines[2].endswith(
        "25.00 to 75.00                  37.50     0.438  0.750    90.00  "
        "1.2500             0.1250"
    )
    assert lines[2].index("50.00") + 5 == lines[0].index("top-1 %") + 7


def test_what_no_row_knows_has_no_column():
    """Few classes have no top 5; runs of older versions lack some metrics."""
    rows = [make_row("teacher"), make_row("student_1")]
    heading = results.format_table(rows).splitlines()[0]
    assert "top-5 %" in heading

    rows[0] |= {"top5_accuracy": None}
    del rows[0]["auroc"]
    one_knows = results.format_table(rows).splitlines()
    assert one_knows[0] == heading
    assert "0.438      -        -  1.2500" in one_knows[2]

    rows[1] |= {"top5_accuracy": None}
    lines = results.format_table(rows).splitlines()
    assert "top-5 %" not in lines[0]
    assert "0.438      -  1.2500" in lines[2]


def test_headline_has_each_models_first_row_of_the_held_out_images():
    rows = [
        {"model": model, "split": split, "resolution": resolution}
        for model in ("teacher", "student_1")
        for split in ("validation", "test")
        for resolution in (24, 32)
    ]
    assert results.headline_rows(rows) == [
        {"model": "teacher", "split": "test", "resolution": 24},
        {"model": "student_1", "split": "test", "resolution": 24},
    ]
    validation = [row for row in rows if row["split"] == "validation"]
    assert len(results.headline_rows(validation)) == 2
    assert results.headline_rows([]) == []
