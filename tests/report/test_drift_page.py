import html

from noisy_student_tf.evaluation import drift
from noisy_student_tf.report import drift_page


def make(is_shown: bool, name: str = "cat") -> drift.Drift:
    change = drift.Change("energy, mean", -5.0, -4.0, (0.5, 1.5), is_shown)
    one_class = drift.Change(name, 0.25, 0.5, (0.1, 0.4), is_shown)
    return drift.Drift(100, 1234, (change,), (one_class,) * 60)


def test_the_page_begins_with_what_has_changed():
    page = drift_page.render(make(True), left_out="12 rows.")
    assert "Changed, of 1,234 served pictures: energy, mean." in page
    assert "12 rows." in page
    assert "+1.000" in page
    assert "+0.500 to +1.500" in page
    assert "(50 of 60)" in page
    assert page.count("<td>changed</td>") == 51


def test_nothing_is_called_changed_where_nothing_is_shown():
    page = drift_page.render(make(False))
    assert "No change shown: 1,234 served pictures" in page
    assert "<td>changed</td>" not in page


def test_names_of_classes_are_text():
    name = "<script>alert(1)</script>"
    page = drift_page.render(make(True, name))
    assert name not in page
    assert html.escape(name) in page
