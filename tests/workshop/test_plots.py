"""The style of figures: what a test can hold of it."""

import matplotlib as mpl
import matplotlib.pyplot as plt

from course_lib.workshop.plots import bar_chart, use_course_style


def test_bars_carry_their_names_and_numbers_with_the_first_on_top() -> None:
    with mpl.rc_context({"backend": "agg"}):
        figure, ax = plt.subplots()
        bar_chart(ax, {"garden": 0.5, "park": 0.25}, "share of the words")
        figure.canvas.draw()
        assert [label.get_text() for label in ax.get_yticklabels()] == ["garden", "park"]
        assert [bar.get_width() for bar in ax.patches] == [0.5, 0.25]  # type: ignore[attr-defined]
        assert [text.get_text() for text in ax.texts] == ["0.50", "0.25"]
        assert ax.get_ylim()[0] > ax.get_ylim()[1]
        assert ax.get_xlabel() == "share of the words"
        plt.close(figure)


def test_figures_stay_readable_on_a_dark_page() -> None:
    with mpl.rc_context():
        use_course_style()
        assert mpl.rcParams["figure.facecolor"] == mpl.rcParams["savefig.facecolor"] == "white"
