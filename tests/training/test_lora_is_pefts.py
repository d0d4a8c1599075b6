"""LoRA against peft, on the same models with the same A and B: outputs, gradients, merged weights."""

import copy
from typing import Any

import peft
import pytest
import torch

from course_lib.training.lora import LoRALinear, lora_parameters, merge_lora
from tests.layers.helpers import assert_same, randn
from tests.models.helpers import LAYERS
from tests.training.lora_helpers import ALPHA, MODELS, RANK, with_lora

# In cross-attention peft adds nothing at all, for that reads rows of the matrix itself: so not "cross.qkv" here.
TARGETS = ("attention.qkv", "out", "down")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("targets", [TARGETS, ("up", "encoder.1.attention.out", "blocks.1.attention.out")], ids=str)
def test_outputs_gradients_and_merged_weights_are_pefts(name, targets):
    make, inputs = MODELS[name]
    base = make()
    targets = [target for target in targets if any(n.endswith(target) for n, _ in base.named_modules())]
    ours = with_lora(copy.deepcopy(base), targets=targets)
    config = peft.LoraConfig(r=RANK, lora_alpha=int(ALPHA), target_modules=targets, lora_dropout=0.0, bias="none")
    theirs: Any = peft.inject_adapter_in_model(config, copy.deepcopy(base))
    layers: dict[str, Any] = {n: m for n, m in theirs.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
    mine = {n: m for n, m in ours.named_modules() if isinstance(m, LoRALinear)}
    assert layers.keys() == mine.keys()
    assert len(layers) >= LAYERS
    for place, layer in layers.items():
        layer.lora_A["default"].weight.data = mine[place].lora_a.detach().clone()
        layer.lora_B["default"].weight.data = mine[place].lora_b.detach().clone()
    result, expected = ours(*inputs), theirs(*inputs)
    assert_same(result, expected, atol=1e-11)
    assert not torch.allclose(result, base(*inputs))

    weight = randn(*result.shape, seed=7)
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    for place, layer in layers.items():
        for other, own in ((layer.lora_A, mine[place].lora_a), (layer.lora_B, mine[place].lora_b)):
            assert other["default"].weight.grad.any()
            torch.testing.assert_close(own.grad, other["default"].weight.grad, rtol=1e-10, atol=1e-10)
    learning = [n for n, p in theirs.named_parameters() if p.requires_grad]
    assert len(learning) == len(lora_parameters(ours)) == sum(p.requires_grad for p in ours.parameters())

    merge_lora(ours)
    for place, layer in layers.items():
        layer.merge()
        merged: Any = ours.get_submodule(place)
        assert_same(merged.weight, layer.base_layer.weight, atol=1e-12)
        assert (merged.bias is None) == (layer.base_layer.bias is None)
    assert_same(ours(*inputs), theirs(*inputs), atol=1e-11)
