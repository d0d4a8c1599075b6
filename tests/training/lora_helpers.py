"""Shared by the tests of LoRA: models with A and B of random numbers, and inputs for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.heads import SequenceClassifier
from course_lib.training.lora import add_lora, lora_parameters
from tests.layers.helpers import randn, randomized, seeded
from tests.models.helpers import SIZES, B, S, T, gpt, random_ids, transformer

RANK, ALPHA = 3, 5.0
IDS, SOURCE, TARGET = random_ids(B, T), random_ids(B, S), random_ids(B, T, seed=1)
REAL = torch.arange(S) < torch.tensor([[S], [S - 3]])


def classifier(*, seed: int = 0) -> SequenceClassifier:
    """A BERT that is always the same, and a new head."""
    model = SequenceClassifier(randomized(BERT(BERTConfig(**SIZES))), classes=4).eval()
    randomized(model.classifier, seed=seed)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "GPT": (lambda: gpt(), (IDS,)),
    "GPT with biases and few key heads": (lambda: gpt(bias=True, kv_heads=2, feedforward="swiglu"), (IDS,)),
    "Transformer": (lambda: transformer(), (SOURCE, TARGET, REAL)),
    "BERT with a head": (lambda: classifier(), (SOURCE, REAL)),
}


def with_lora(model: Any, **changes: Any) -> Any:
    """A and B random: nothing is 0 that would hide what it does."""
    options: dict[str, Any] = {"rank": RANK, "alpha": ALPHA, "generator": seeded(1)}
    add_lora(model, **(options | changes))
    for number, parameter in enumerate(lora_parameters(model).values()):
        parameter.data = randn(*parameter.shape, seed=100 + number, dtype=parameter.dtype) * 0.3
    return model
