"""The loss while a training runs: a curve that grows below the cell, and stays there as a figure when it has ended."""

import os
import time
from itertools import accumulate
from typing import Any

import matplotlib.pyplot as plt
from IPython.core.getipython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from course_lib.training.callbacks import History, Progress
from course_lib.workshop.plots import COLOURS

_SHARE = 0.05  # of the time may go into drawing


class LossPlot:
    """A callback for ``train``: draws the loss of each step, again every second, and once more after the last step.

    plot = LossPlot(best_possible=0.55)
    train(model, ..., callbacks=[plot])

    The thin line is the loss of each batch, the thick one a running mean, the dots are evaluations, and the black line
    is ``best_possible`` (nats per target). Where no notebook is running, or bars are switched off
    (TQDM_DISABLE=1), only the last figure is drawn. A training that a callback stops early ends without it:
    ``plot.show()`` draws it then.
    """

    def __init__(self, best_possible: float | None = None, *, every: float = 1.0) -> None:
        if best_possible is not None and not best_possible > 0:
            raise ValueError(f"best_possible is {best_possible}: it must be more than 0 nats per target, or None")
        if not every > 0:
            raise ValueError(f"every is {every}: it must be more than 0 seconds")
        self.best_possible, self.every = best_possible, every
        self._history: History | None = None
        self._handle: Any = None
        self._next = -1.0  # the second at which it is drawn again

    def __call__(self, progress: Progress) -> None:
        self._history = progress.history
        if progress.step == progress.steps:
            self.show()
        elif _is_live() and time.perf_counter() >= self._next and progress.step > 1:
            began = time.perf_counter()
            self._draw(f"step {progress.step} of {progress.steps}")
            now = time.perf_counter()
            self._next = now + max(self.every, (now - began) / _SHARE)

    def show(self) -> None:
        """Draw what has been trained so far, in the place of the live picture if there is one."""
        if self._history is None:
            raise ValueError("there is nothing to draw: give this plot to train first, as callbacks=[plot]")
        self._draw("")
        self._handle, self._next = None, -1.0  # the next training gets a picture of its own

    def _draw(self, title: str) -> None:
        assert self._history is not None
        figure = loss_figure(self._history, self.best_possible, title=title)
        try:
            if self._handle is None:
                self._handle = display(figure, display_id=True)
            else:
                self._handle.update(figure)
        finally:
            plt.close(figure)  # or the notebook would draw it a second time


def loss_figure(history: History, best_possible: float | None = None, *, title: str = "") -> Figure:
    """The losses of a training. Both axes are logarithmic: the first steps change as much as all the later ones."""
    losses = history.losses
    figure, ax = plt.subplots()
    ax.plot(range(1, len(losses) + 1), losses, color=COLOURS[0], linewidth=0.7, alpha=0.4, label="each batch")
    ax.plot(range(1, len(losses) + 1), running_mean(losses), color=COLOURS[0], linewidth=2, label="running mean")
    if history.evaluations:
        steps, values = zip(*history.evaluations, strict=True)
        ax.plot(steps, values, "o", color=COLOURS[1], markersize=5, label="new text")
    if best_possible is not None:
        ax.axhline(best_possible, color="black", linewidth=1, label="best possible")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("step")
    ax.set_ylabel("loss (nats per token)")
    ax.set_title(title, fontsize=10)
    ax.legend()
    return figure


def running_mean(losses: list[float]) -> list[float]:
    """For each step the mean over the last tenth of the steps so far: equally wide everywhere on a logarithmic axis."""
    sums = [0.0, *accumulate(losses)]
    return [(sums[n] - sums[n - size]) / size for n in range(1, len(sums)) for size in [max(1, n // 10)]]


def _is_live() -> bool:
    return hasattr(get_ipython(), "kernel") and os.environ.get("TQDM_DISABLE", "") in {"", "0"}
