from noisy_student_tf.records import append_only


def test_lines_are_appended_whole(tmp_path):
    path = tmp_path / "lines"
    append_only.append_line(str(path), "one")
    append_only.append_line(str(path), "two\nthr\u00e9e")
    assert path.read_text() == "one\ntwo\nthr\u00e9e\n"

    # A writer was killed.
    path.write_text("one\ntw")
    append_only.append_line(str(path), "three")
    assert path.read_text() == "one\ntw\nthree\n"
