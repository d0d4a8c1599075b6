"""Figures to play with, and text shown in colour. Both leave plain words behind where no notebook is running."""

import html
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from IPython.display import display
from IPython.utils.capture import capture_output
from ipywidgets.widgets.interaction import show_inline_matplotlib_plots

# Light backgrounds under dark letters: readable on a light and on a dark page.
_TOKEN_COLOURS = ("#cfe8ff", "#ffe2c7", "#cdeeda", "#f6d5e6", "#fbf0b8")


def play(function: Callable[..., Any], **controls: Any) -> ipywidgets.VBox:
    """Show controls, and below them what ``function`` prints or draws for their values, again at every change.

    Each keyword is an argument of ``function``: ``(1, 5)`` makes a slider from 1 to 5, ``["a", "b"]`` a list to choose
    from, ``"text"`` a line to type in, and any ipywidgets control is taken as it is: ``ipywidgets.Play()`` counts by
    itself, and gets a slider to go back and forth. A control starts at the default of its argument. In print and on
    GitHub one line of text stands in its place. Returns the box of all controls with the output last.

    Raises TypeError if ``function`` has no argument of a control's name, ValueError for what cannot become a control.
    """
    arguments = inspect.signature(function).parameters
    widgets: dict[str, Any] = {}
    boxes: list[ipywidgets.Widget] = []
    for name, control in controls.items():
        if name not in arguments:
            raise TypeError(f"function has no argument {name!r}: it has {', '.join(arguments) or 'none'}")
        widget = control
        if not isinstance(control, ipywidgets.Widget):
            default = arguments[name].default
            widget = ipywidgets.interactive.widget_from_abbrev(control, default)
            if isinstance(widget, ipywidgets.Text):
                widget.layout = {"width": "40em", "max_width": "100%"}
                widget.value = default if isinstance(default, str) else control  # of texts, ipywidgets asks no default
        if widget is None:
            raise ValueError(f"{name} is {control!r}: give (lowest, highest), a list, a text, or a widget")
        widget.description = name
        if hasattr(widget, "style"):
            widget.style.description_width = "7em"  # one line of controls, and no name is cut off
        if hasattr(widget, "continuous_update"):
            widget.continuous_update = False  # one run when a slider is let go, not twenty on the way
        widgets[name] = widget
        if isinstance(widget, ipywidgets.Play):
            slider = ipywidgets.IntSlider(
                widget.value, widget.min, widget.max, description=name, continuous_update=False
            )
            ipywidgets.link((widget, "value"), (slider, "value"))
            widget = ipywidgets.HBox([slider, widget])
        boxes.append(widget)
    output = ipywidgets.Output()

    def redraw(_: Any = None) -> None:
        # The output is collected here and handed over whole. (ipywidgets' own way leaves the collecting to the page;
        # where there is none, as in a test of the notebook, it would end up beside the widget.)
        with capture_output() as captured:
            try:
                function(**{name: widget.value for name, widget in widgets.items()})
                show_inline_matplotlib_plots()
            except Exception:
                traceback.print_exc(limit=-1, file=sys.stdout)
        text = [{"output_type": "stream", "name": "stdout", "text": captured.stdout}] if captured.stdout else []
        rich = [{"output_type": "display_data", "data": o.data, "metadata": o.metadata or {}} for o in captured.outputs]
        output.outputs = (*text, *rich)

    for widget in widgets.values():
        widget.observe(redraw, names="value")
    redraw()
    box = ipywidgets.VBox([*boxes, output])
    line = f"[interactive: run the notebook, then change {', '.join(widgets)}]"
    display({**box._repr_mimebundle_(), "text/plain": line}, raw=True)
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
