"""Tokens coloured by attention: the colours follow the weights, and the words say the same without colour."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from course_lib.workshop import attention_view
from course_lib.workshop.attention_view import show_alignment, show_attention


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(attention_view, "display", lambda data, raw: bundles.append(data))
    return bundles


def chips(page: str) -> list[tuple[str, tuple[int, int, int], str]]:
    """(text, background, border) of every coloured piece, the legend's included."""
    found = re.findall(
        r'<span title="[\d.]+" style="background:rgb\((\d+),(\d+),(\d+)\);[^"]*border:([^;]*);[^"]*">(.*?)</span>', page
    )
    return [(text, (int(r), int(g), int(b)), border) for r, g, b, border, text in found]


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance (WCAG 2.1)."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_each_token_is_shown_once_in_its_order_and_a_larger_weight_has_a_stronger_colour(
    shown: list[dict[str, Any]],
) -> None:
    tokens, weights = ["她", "回", "到", "公园", "。"], [0.0, 0.3, 0.04, 0.66, 0.0]
    show_attention(tokens, weights, query=2)
    parts = chips(shown[0]["text/html"])[: len(tokens)]
    assert [text for text, _, _ in parts] == tokens
    blue = [colour[2] for _, colour, _ in parts]  # from 255 (white) down to 0 (orange)
    assert blue[0] == blue[4] == 255
    assert blue[3] < blue[1] < blue[2] < 250, "4% can still be seen"


def test_the_legend_has_the_colours_of_the_tokens(shown: list[dict[str, Any]]) -> None:
    show_attention(["a", "b", "c"], [0.25, 0.75, 0.0], query=2)
    parts = chips(shown[0]["text/html"])
    legend = {text: colour for text, colour, _ in parts[3:]}
    assert list(legend) == ["0.00", "0.05", "0.25", "1.00"]
    assert legend["0.25"] == parts[0][1]
    assert legend["0.00"] == parts[2][1] == (255, 255, 255)
    assert legend["1.00"] == (230, 159, 0)


def test_only_the_query_has_the_frame(shown: list[dict[str, Any]]) -> None:
    show_attention(["a", "b", "a"], [0.5, 0.5, 0.0], query=2)
    assert [border.startswith("2px") for _, _, border in chips(shown[0]["text/html"])[:3]] == [False, False, True]


def test_letters_have_contrast_on_every_colour(shown: list[dict[str, Any]]) -> None:
    """WCAG 2.1, 1.4.3: at least 4.5 to 1. Letters and backgrounds are both set, so a dark page changes nothing."""
    show_attention([str(i) for i in range(11)], [i / 10 for i in range(11)], query=0)
    for _, colour, _ in chips(shown[0]["text/html"]):
        assert (luminance(colour) + 0.05) / (luminance((0x11, 0x11, 0x11)) + 0.05) > 7
    assert shown[0]["text/html"].count("color:#111") == 11 + 4


def test_without_colours_words_say_where_it_reads(shown: list[dict[str, Any]]) -> None:
    show_attention(["the", "park", ".", "She"], [0.1, 0.8, 0.06, 0.04], query=3, top=2)
    assert shown[0]["text/plain"] == "'She' reads park 0.80 · the 0.10"
    assert "<b>She</b> reads park 0.80 · the 0.10" in shown[0]["text/html"]


def test_a_row_that_may_see_nothing_reads_nothing(shown: list[dict[str, Any]]) -> None:
    show_attention(["a", "b"], [0.0, 0.0], query=0)
    assert shown[0]["text/plain"] == "'a' reads nothing"


def test_tokens_are_text_and_never_html(shown: list[dict[str, Any]]) -> None:
    show_attention(["<b>&", "x"], [1.0, 0.0], query=0)
    assert "<b>&<" not in shown[0]["text/html"]
    assert shown[0]["text/html"].count("&lt;b&gt;&amp;") == 3, "as a token, as the query, and among what is read"


@pytest.mark.parametrize(
    ("weights", "query", "message"),
    [
        ([0.5], 0, "weights holds 1 numbers and tokens 2"),
        ([0.5, -0.1], 0, "weights must be from 0 to 1, but run from -0.1 to 0.5"),
        ([0.5, 1.2], 0, "weights must be from 0 to 1, but run from 0.5 to 1.2"),
        ([float("nan"), 0.2], 0, "weights must be from 0 to 1"),
        ([0.5, 0.5], 2, "query is 2: it must be from 0 to 1"),
        ([0.5, 0.5], -1, "query is -1: it must be from 0 to 1"),
    ],
)
def test_a_callers_mistake_is_named(
    shown: list[dict[str, Any]], weights: list[float], query: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        show_attention(["a", "b"], weights, query)
    assert shown == []


# --- two texts --------------------------------------------------------------------------------------------------------

WEIGHTS = [[0.05, 0.7, 0.25], [0.004, 0.003, 0.001]]


def drawn(page: str) -> tuple[list[Any], list[Any]]:
    """(x, y, width, colour) of each cell, and (text, x, y, anchor) of each label, as an XML parser reads them."""
    root = ElementTree.fromstring(page)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    cells = [e.attrib for e in root if e.tag.endswith("rect") and "stroke" in e.attrib]
    labels = [(e.text, float(e.attrib["x"]), float(e.attrib["y"]), e.attrib["text-anchor"]) for e in root if e.text]
    return [(float(c["x"]), float(c["y"]), float(c["width"]), c["fill"]) for c in cells], labels


def test_each_weight_stands_below_its_token_and_beside_its_reader(shown: list[dict[str, Any]]) -> None:
    show_alignment(["hid", "<end>"], ["藏在", "的一", "。"], WEIGHTS)
    cells, labels = drawn(shown[0]["image/svg+xml"])
    places = {text: (x, y) for text, x, y, _ in labels}
    assert list(places) == ["藏在", "的一", "。", "hid", "0.70", "0.25", "<end>"]  # small weights are not written
    assert len({(x, y) for x, y, *_ in cells}) == len(cells) == 6
    for (x, y, width, _), token, reader in zip(
        cells, ["藏在", "的一", "。"] * 2, ["hid"] * 3 + ["<end>"] * 3, strict=True
    ):
        assert places[token][0] == x + width / 2
        assert y < places[reader][1] < y + 22
        assert places[reader][0] < cells[0][0]
    assert places["0.70"][0] == places["的一"][0]
    assert places["0.70"][1] == places["hid"][1]
    shades = [int(fill.removesuffix(")").rpartition(",")[2]) for *_, fill in cells]  # blue: from 255 (white) down
    assert shades[1] < shades[2] < shades[0] < 255
    assert min(shades[3:]) > 230


def test_each_reader_has_a_line_in_words_too(shown: list[dict[str, Any]]) -> None:
    show_alignment(["hid", "<end>"], ["藏在", "的一", "。"], WEIGHTS)
    assert shown[0]["text/plain"] == "'hid' reads 的一 0.70\n'<end>' reads nothing"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[0.5, 0.5]], "weights must be 2 rows of 2, one for each reader and token, but are 1 of [2]"),
        ([[0.5, 0.5], [1.0]], "weights must be 2 rows of 2, one for each reader and token, but are 2 of [1, 2]"),
        ([[0.5, 0.5], [0.5, 1.5]], "weights must be from 0 to 1"),
        ([[0.5, 0.5], [0.5, float("nan")]], "weights must be from 0 to 1"),
    ],
)
def test_weights_that_do_not_fit_two_texts_are_refused(
    shown: list[dict[str, Any]], weights: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        show_alignment(["a", "b"], ["c", "d"], weights)
    assert not shown
