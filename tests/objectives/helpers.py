"""Shared by the tests of the objectives: tiny random models of Transformers that are called as those of the course."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig

from tests.layers.helpers import randomized

V, CONTEXT, WIDTH, HEADS, LAYERS, HIDDEN = 23, 11, 12, 3, 2, 7


class LikeOurs(nn.Module):
    """A BERT of Transformers, in float64 and with random weights: ``model(ids, real, segments)`` gives its logits."""

    def __init__(self, kind: Any, **settings: Any) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=V,
            max_position_embeddings=CONTEXT,
            hidden_size=WIDTH,
            num_attention_heads=HEADS,
            num_hidden_layers=LAYERS,
            intermediate_size=HIDDEN,
            **settings,
        )
        self.bert = randomized(kind(config)).eval()

    def forward(self, ids: Tensor, real: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        out = self.outputs(ids, real, segments)
        return torch.stack([out.start_logits, out.end_logits], dim=-1) if "start_logits" in out else out.logits

    def outputs(self, ids: Tensor, real: Tensor | None = None, segments: Tensor | None = None, **labels: Tensor) -> Any:
        return self.bert(
            input_ids=ids,
            attention_mask=None if real is None else real.long(),
            token_type_ids=segments,
            **labels,
        )
