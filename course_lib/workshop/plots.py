"""How the course's figures look: one style, readable in print, on a dark page and with any colour vision."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Okabe & Ito 2008: eight colours that people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

_STYLE: dict[str, Any] = {
    "figure.figsize": (7.2, 3.2),
    "figure.dpi": 100,
    "figure.facecolor": "white",  # a dark page must not swallow black labels
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "font.size": 10,
    "legend.frameon": False,
}


def use_course_style() -> None:
    """Draw all figures of this notebook in the course's style."""
    plt.style.use(_STYLE)


def bar_chart(ax: Axes, values: Mapping[str, float], label: str, colour: str = COLOURS[0]) -> None:
    """Horizontal bars, the first entry on top, each with its number. ``label`` names the axis and its unit."""
    names = list(values)
    bars = ax.barh(range(len(names)), list(values.values()), color=colour)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.bar_label(bars, fmt=lambda value: f"{value:z.2f}", padding=3)
    ax.set_xlabel(label)
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
