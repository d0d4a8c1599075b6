"""Heads: a pretrained body, and on it one small matrix for the task (Devlin et al. 2019, section 4).

A body has ``hidden(ids, real, segments)``, ``pooled(hidden)`` and ``config.width``, as ``BERT`` has. ``classifier`` is
new and starts small; the body goes on from where pretraining left it.

Sizes: B sequences, T positions, D model width, C classes or labels.
"""

from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one


class _Head(nn.Module):
    def __init__(self, body: nn.Module, name: str, outputs: int, dropout: float) -> None:
        super().__init__()
        check_at_least_one(name, outputs)
        if missing := [part for part in ("hidden", "pooled", "config") if not hasattr(body, part)]:
            raise TypeError(f"body must be an encoder such as BERT; a {type(body).__name__} has no {missing[0]!r}")
        config: Any = body.config
        self.body: Any = body
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.width, outputs)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.classifier.to(next(body.parameters()))  # its device and dtype


class SequenceClassifier(_Head):
    """One of ``classes`` for the whole row: (B, T) -> (B, C), from the pooled vector (figure 4a and b)."""

    def __init__(self, body: nn.Module, classes: int, dropout: float = 0.1) -> None:
        super().__init__(body, "classes", classes, dropout)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B C"]:
        return self.classifier(self.dropout(self.body.pooled(self.body.hidden(ids, real, segments))))


class TokenClassifier(_Head):
    """One of ``labels`` for each token: (B, T) -> (B, T, C) (figure 4d)."""

    def __init__(self, body: nn.Module, labels: int, dropout: float = 0.1) -> None:
        super().__init__(body, "labels", labels, dropout)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        return self.classifier(self.dropout(self.body.hidden(ids, real, segments)))


class SpanExtractor(_Head):
    """Where an answer starts, and where it ends: (B, T) -> (B, T, 2), a logit of each token for both (figure 4c)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__(body, "outputs", 2, 0.0)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T 2"]:
        return self.classifier(self.body.hidden(ids, real, segments))
