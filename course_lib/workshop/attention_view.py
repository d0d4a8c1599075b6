"""A text in which each token is coloured by how much attention it gets. Plain words where there is no colour.

The tokens are HTML text, not a drawing: any script shows in the reader's own fonts.
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
    strongest = sorted(range(len(tokens)), key=lambda i: -weights[i])[:top]
    reads = " · ".join(f"{tokens[i]} {weights[i]:.2f}" for i in strongest if weights[i] >= 0.005) or "nothing"
    chips = (_chip(token, weights[i], framed=i == query) for i, token in enumerate(tokens))
    legend = "".join(_chip(f"{weight:.2f}", weight) for weight in (0, 0.05, 0.25, 1))
    body = (
        f'<div style="line-height:1.9">{"".join(chips)}</div>'
        f"<div><b>{html.escape(tokens[query])}</b> reads {html.escape(reads)} &emsp; weight: {legend}</div>"
    )
    display({"text/plain": f"{tokens[query]!r} reads {reads}", "text/html": body}, raw=True)


def _chip(text: str, weight: float, *, framed: bool = False) -> str:
    strength = min(weight, 1.0) ** 0.5
    shade = ",".join(str(round(w + strength * (o - w))) for w, o in zip(_WHITE, _ORANGE, strict=True))
    frame = "2px solid #0072B2" if framed else "1px solid #ccc"
    return (
        f'<span title="{weight:.3f}" style="background:rgb({shade});color:#111;border:{frame};padding:0 3px;margin:1px;'
        f'border-radius:3px;display:inline-block">{html.escape(text)}</span>'
    )
