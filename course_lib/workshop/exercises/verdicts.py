"""How a verdict reads: in plain text, and as HTML that follows the reader's light or dark theme.

The plain text stands beside the HTML in every stored output, and both are the same in every run.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

STATE_MARKS = {"not_started": "○", "raised": "!", "wrong": "✗", "right": "✓", "ours": "?"}
_COLOURS = {
    "not_started": "var(--jp-ui-font-color2, #808080)",
    "raised": "var(--jp-warn-color1, #d97706)",
    "wrong": "var(--jp-error-color1, #e0463c)",
    "right": "var(--jp-success-color1, #2f9e5b)",
    "ours": "var(--jp-info-color1, #2f8fd0)",
}
_BOX = (
    "color:var(--jp-ui-font-color1, inherit);font-family:var(--jp-code-font-family, monospace);"
    "line-height:1.5;padding-left:0.8em"
)
_INDENTED = "margin:2px 0 2px 2em;column-gap:1em"
_WRAPPED = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
_FAINT = "color:var(--jp-ui-font-color2, inherit)"


class Shown:
    """Something with a plain text (``str``) and an HTML form, as a notebook shows it."""

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Verdict(Shown):
    """What a check found. ``state`` is a key of STATE_MARKS, ``mistake`` names what went wrong ("" where nothing did).

    ``steps`` are (state, text) of the steps that ran, ``details`` (label, text) of what to say below the last.
    """

    exercise: str
    state: str
    mistake: str = ""
    steps: Sequence[tuple[str, str]] = ()
    summary: str = ""
    details: Sequence[tuple[str, str]] = ()
    printed: Sequence[str] = ()
    printed_label: str = ""

    def __str__(self) -> str:
        lines = [f"{STATE_MARKS[state]} {text}" for state, text in self.steps]
        if self.summary:
            lines.append(f"{STATE_MARKS[self.state]} {self.summary}")
        width = max((len(label) for label, _ in self.details), default=0)
        for label, text in self.details:
            first, *more = text.splitlines() or [""]
            lines += [f"    {label:<{width}}: {first}", *(f"    {'':<{width}}  {line}" for line in more)]
        if self.printed:
            lines += [self.printed_label, *(f"    | {line}" for line in self.printed)]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        parts = [_line(state, text) for state, text in self.steps]
        if self.summary:
            parts.append(_line(self.state, self.summary))
        if self.details:
            rows = "".join(
                f'<div style="{_FAINT}">{html.escape(label)}</div><div style="{_WRAPPED}">{marked_up(text)}</div>'
                for label, text in self.details
            )
            parts.append(f'<div style="{_INDENTED};display:grid;grid-template-columns:max-content 1fr">{rows}</div>')
        if self.printed:
            label = f'<div style="{_FAINT}">{html.escape(self.printed_label)}</div>'
            parts.append(label + code_block("\n".join(self.printed)))
        return boxed("".join(parts), self.state)


def _line(state: str, text: str) -> str:
    mark = f'<b style="color:{_COLOURS[state]}">{STATE_MARKS[state]}</b>'
    return f"<div>{mark} {marked_up(text)}</div>"


def boxed(body: str, state: str) -> str:
    """HTML in the notebook's own colours, with a bar in the colour of a state."""
    return f'<div style="{_BOX};border-left:3px solid {_COLOURS[state]}">{body}</div>'


def code_block(text: str) -> str:
    """Code, or what was printed, as it stands."""
    return f'<pre style="{_INDENTED};{_WRAPPED};background:none;color:inherit">{html.escape(text)}</pre>'


def marked_up(text: str) -> str:
    """Escaped text in which `code` is code, and *stressed* words are stressed."""
    style = "background:none;color:inherit;font-weight:bold;padding:0"
    marks = r"`([^`\n]+)`|(?<![\w*])\*(\w[^*`\n]*)\*(?![\w*])"
    return re.sub(
        marks, lambda m: f'<code style="{style}">{m[1]}</code>' if m[1] else f"<em>{m[2]}</em>", html.escape(text)
    )
