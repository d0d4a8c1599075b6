"""Attention as colours: one text that a token reads, or two texts and who reads whom. Plain words beside the colours.

The tokens are text, and not a drawing: any script shows in the reader's own fonts.
"""

import html
from collections.abc import Sequence

from IPython.display import display

_WHITE, _ORANGE = (255, 255, 255), (230, 159, 0)  # the orange of course_lib.workshop.plots; dark letters on both


def show_attention(tokens: Sequence[str], weights: Sequence[float], query: int, *, top: int = 3) -> None:
    """Show ``tokens``, each on a colour as strong as the weight with which the token number ``query`` reads it.

    The query has a frame. The strength grows with the square root of the weight, so that 4% can still be seen; a legend
    says so, and resting the mouse on a token shows its number. Below, in words, the ``top`` largest weights.
    ``weights`` are one row of ``MultiHeadAttention.weights``, as a list: one number from 0 to 1 for each token.

    Raises ValueError for weights that are no such numbers, or a ``query`` that is none of the tokens.
    """
    if len(weights) != len(tokens):
        raise ValueError(f"weights holds {len(weights)} numbers and tokens {len(tokens)}: one for each token is needed")
    if not all(0 <= weight <= 1.0001 for weight in weights):  # NaN fails too; a sum in float32 may end above 1
        raise ValueError(f"weights must be from 0 to 1, but run from {min(weights)} to {max(weights)}")
    if not 0 <= query < len(tokens):
        raise ValueError(f"query is {query}: it must be from 0 to {len(tokens) - 1}, the number of a token")
    reads = _strongest(tokens, weights, top)
    chips = (_chip(token, weights[i], framed=i == query) for i, token in enumerate(tokens))
    legend = "".join(_chip(f"{weight:.2f}", weight) for weight in (0, 0.05, 0.25, 1))
    body = (
        f'<div style="line-height:1.9">{"".join(chips)}</div>'
        f"<div><b>{html.escape(tokens[query])}</b> reads {html.escape(reads)} &emsp; weight: {legend}</div>"
    )
    display({"text/plain": f"{tokens[query]!r} reads {reads}", "text/html": body}, raw=True)


def show_alignment(readers: Sequence[str], tokens: Sequence[str], weights: Sequence[Sequence[float]]) -> None:
    """Show which of ``tokens`` (the columns) each of ``readers`` (the rows) reads: a picture, and a line in words each.

    ``weights`` are rows of ``MultiHeadAttention.weights``, as lists: numbers from 0 to 1. Those from 0.1 on are written
    into the picture. Raises ValueError where they do not fit, or are no such numbers.
    """
    if len(weights) != len(readers) or any(len(row) != len(tokens) for row in weights):
        raise ValueError(
            f"weights must be {len(readers)} rows of {len(tokens)}, one for each reader and token, "
            f"but are {len(weights)} of {sorted({len(row) for row in weights})}"
        )
    if not all(0 <= weight <= 1.0001 for row in weights for weight in row):  # NaN fails too
        raise ValueError("weights must be from 0 to 1")
    lines = [f"{reader!r} reads {_strongest(tokens, row, 1)}" for reader, row in zip(readers, weights, strict=True)]
    display({"text/plain": "\n".join(lines), "image/svg+xml": _alignment(readers, tokens, weights)}, raw=True)


def _alignment(readers: Sequence[str], tokens: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """An SVG: the tokens above, the readers on the left, a coloured cell for each weight."""
    left, top, height = 16 + 9 * max(map(len, readers)), 26, 22
    widths = [max(38, 18 + 15 * len(token)) for token in tokens]
    starts = [left + sum(widths[:i]) for i in range(len(tokens) + 1)]
    middles = [start + width / 2 for start, width in zip(starts, widths, strict=False)]
    parts = ['<rect width="100%" height="100%" fill="white"/>']
    parts += [_label(token, middle, top, "middle") for token, middle in zip(tokens, middles, strict=True)]
    for number, (reader, row) in enumerate(zip(readers, weights, strict=True)):
        y = top + number * height
        parts.append(_label(reader, left - 8, y + height, "end"))
        for weight, start, width, middle in zip(row, starts, widths, middles, strict=False):
            size = f'x="{start}" y="{y}" width="{width}" height="{height}"'
            parts.append(f'<rect {size} fill="rgb({_shade(weight)})" stroke="#ccc"/>')
            if weight >= 0.1:
                parts.append(_label(f"{weight:.2f}", middle, y + height, "middle"))
    size = f'width="{starts[-1] + 8}" height="{top + len(readers) * height + 8}"'
    style = 'font-family="sans-serif" font-size="13" fill="#111"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'


def _label(text: str, x: float, bottom: float, anchor: str) -> str:
    return f'<text x="{x:g}" y="{bottom - 7:g}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _strongest(tokens: Sequence[str], weights: Sequence[float], top: int) -> str:
    strongest = sorted(range(len(tokens)), key=lambda i: -weights[i])[:top]
    return " · ".join(f"{tokens[i]} {weights[i]:.2f}" for i in strongest if weights[i] >= 0.005) or "nothing"


def _shade(weight: float) -> str:
    strength = min(weight, 1.0) ** 0.5
    return ",".join(str(round(w + strength * (o - w))) for w, o in zip(_WHITE, _ORANGE, strict=True))


def _chip(text: str, weight: float, *, framed: bool = False) -> str:
    frame = "2px solid #0072B2" if framed else "1px solid #ccc"
    return (
        f'<span title="{weight:.3f}" style="background:rgb({_shade(weight)});color:#111;border:{frame};padding:0 3px;'
        f'margin:1px;border-radius:3px;display:inline-block">{html.escape(text)}</span>'
    )
