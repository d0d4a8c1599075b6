"""The growing loss curve: what it shows, and when it keeps quiet."""

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from course_lib.objectives.causal import LossSum
from course_lib.training.callbacks import History
from course_lib.training.loop import train
from course_lib.workshop import training_view
from course_lib.workshop.training_view import LossPlot, loss_figure, running_mean


@pytest.fixture(autouse=True)
def agg(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    assert plt.get_fignums() == []  # a figure left open is drawn a second time by the notebook
    plt.close("all")


class Page:
    """Stands in for the notebook: what was displayed anew, and what took the place of something displayed."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []  # for each place on the page, the titles of its pictures

    def display(self, figure: Figure, *, display_id: bool) -> Any:
        assert display_id
        place = [figure.axes[0].get_title()]
        self.shown.append(place)
        return SimpleNamespace(update=lambda figure: place.append(figure.axes[0].get_title()))


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page()
    monkeypatch.setattr(training_view, "display", page.display)
    return page


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook runs, bars are shown, and each look at the clock is a second after the last."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(training_view, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(training_view, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


class Numbers:
    def __next__(self) -> tuple[torch.Tensor]:
        return (torch.ones(2),)


def trained(plot: LossPlot, *, steps: int, stop_at: int = 0) -> History:
    model = nn.Linear(1, 1)
    return train(
        model,
        Numbers(),
        lambda model, batch: LossSum((model(batch[0][:, None]) ** 2).sum(), torch.tensor(2)),
        torch.optim.SGD(model.parameters(), lr=0.01),
        steps=steps,
        callbacks=[plot, lambda progress: progress.step == stop_at],
    )


def test_where_no_notebook_runs_only_the_last_figure_is_drawn(page: Page) -> None:
    trained(LossPlot(), steps=5)
    assert page.shown == [[""]]


def test_where_bars_are_off_only_the_last_figure_is_drawn(
    page: Page, notebook: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    trained(LossPlot(), steps=5)
    assert page.shown == [[""]]


def test_in_a_notebook_the_curve_grows_in_one_place_and_drawing_takes_a_small_share_of_the_time(
    page: Page, notebook: None
) -> None:
    trained(LossPlot(), steps=100)
    # A drawing takes one second of this clock, so the next one comes at least 20 seconds later.
    [place] = page.shown
    steps = [int(title.split()[1]) for title in place[:-1]]
    assert place[0] == "step 2 of 100"
    assert place[-1] == ""
    assert len(steps) >= 4
    assert all(later - earlier >= 18 for earlier, later in pairwise(steps))


def test_the_next_training_gets_a_picture_of_its_own(page: Page, notebook: None) -> None:
    plot = LossPlot()
    trained(plot, steps=30)
    trained(plot, steps=2)
    assert [place[-1] for place in page.shown] == ["", ""]


def test_a_training_that_was_stopped_is_drawn_when_one_asks(page: Page) -> None:
    plot = LossPlot()
    with pytest.raises(ValueError, match=r"callbacks=\[plot\]"):
        plot.show()
    trained(plot, steps=9, stop_at=4)
    assert page.shown == []
    plot.show()
    assert page.shown == [[""]]


def test_the_figure_holds_the_losses_their_mean_the_evaluations_and_the_best_possible() -> None:
    history = History()
    for loss in (6.0, 2.0, 1.0):
        history.add(torch.tensor(3 * loss), torch.tensor(3), torch.tensor(1.0))
    history.evaluations = [(2, 2.5), (3, 1.5)]
    figure = loss_figure(history, best_possible=0.5)
    [ax] = figure.axes
    x, y = ({line.get_label(): np.asarray(line.get_data()[i]).tolist() for line in ax.lines} for i in (0, 1))
    assert x["each batch"] == [1, 2, 3]
    assert y["each batch"] == [6.0, 2.0, 1.0]
    assert y["running mean"] == running_mean([6.0, 2.0, 1.0])
    assert x["new text"] == [2, 3]
    assert y["new text"] == [2.5, 1.5]
    assert y["best possible"] == [0.5, 0.5]
    assert ax.get_ylabel() == "loss (nats per token)"
    plt.close(figure)
    bare = loss_figure(history)
    assert "best possible" not in {line.get_label() for line in bare.axes[0].lines}
    plt.close(bare)


def test_the_running_mean_is_one_over_the_last_tenth_of_the_steps() -> None:
    losses = [float(n * n) for n in range(1, 36)]
    means = running_mean(losses)
    assert means[:19] == losses[:19]  # fewer than 20 steps: each stands alone
    assert means[19] == pytest.approx((19**2 + 20**2) / 2)
    assert means[34] == pytest.approx((33**2 + 34**2 + 35**2) / 3)
    assert len(means) == 35
    assert running_mean([]) == []


@pytest.mark.parametrize(("arguments", "name"), [({"best_possible": 0.0}, "best_possible"), ({"every": 0}, "every")])
def test_what_cannot_be_is_refused(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 0"):
        LossPlot(**arguments)
