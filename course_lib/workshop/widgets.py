"""Figures to play with, and text shown in colour. Both leave plain words behind where no notebook is running."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from IPython.display import display

# Light backgrounds under dark letters: readable on a light and on a dark page.
_TOKEN_COLOURS = ("#cfe8ff", "#ffe2c7", "#cdeeda", "#f6d5e6", "#fbf0b8")


def play(function: Callable[..., Any], **controls: Any) -> ipywidgets.interactive:
    """Show controls, and below them what ``function`` prints or draws for their values, again at every change.

    Each keyword is an argument of ``function``: ``(1, 5)`` makes a slider from 1 to 5, ``["a", "b"]`` a list to choose
    from, ``"text"`` a line to type in, and any ipywidgets control is taken as it is. In print and on GitHub one line of
    text stands in its place. Returns the widget: a test can move ``.children``.
    """
    box = ipywidgets.interactive(function, **controls)
    for control in box.children[:-1]:
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # one run when a slider is let go, not twenty on the way
    names = ", ".join(str(control.description) for control in box.children[:-1])
    bundle = box._repr_mimebundle_()
    bundle["text/plain"] = f"[interactive: run the notebook, then change {names}]"
    display(bundle, raw=True)
    return box


def show_tokens(pieces: Sequence[str]) -> None:
    """Show the pieces of a text side by side, each on its own colour. Spaces are drawn as ·, line ends as ↵."""
    marked = [piece.replace(" ", "·").replace("\n", "↵") for piece in pieces]
    spans = "".join(
        f'<span style="background:{_TOKEN_COLOURS[i % len(_TOKEN_COLOURS)]};color:#111;padding:1px 2px;margin:1px;'
        f'border-radius:3px;display:inline-block">{html.escape(piece)}</span>'
        for i, piece in enumerate(marked)
    )
    body = f'<div style="font-family:monospace;line-height:1.8">{spans}</div>'
    display({"text/plain": "|".join(marked), "text/html": body}, raw=True)
