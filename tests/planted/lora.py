"""Bugs in LoRA: the sum, its beginning, what learns, merged and apart, adapters of another base."""

from tests.planted.planting import Bug

LORA = ("tests/training/test_lora.py",)

_L, _A = "course_lib/training/lora.py", "course_lib/layers/attention.py"

BUGS = [
    # --- the sum
    Bug("the rank does not divide alpha", _L, "alpha, alpha / rank", "alpha, alpha", LORA),
    Bug("the detour is not scaled", _L, "self.lora_b) * self.scale", "self.lora_b)", LORA),
    Bug(
        "a merged weight is not scaled", _L, "self.lora_b @ self.lora_a * self.scale", "self.lora_b @ self.lora_a", LORA
    ),
    Bug(
        "dropout acts on the sum",
        _L,
        "self.base(x) + F.linear(F.linear(self.dropout(x), self.lora_a), self.lora_b) * self.scale",
        "self.dropout(self.base(x) + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale)",
        LORA,
    ),
    Bug(
        "cross-attention reads the frozen matrix, as with peft",
        _L,
        "        return self.merged_weight()\n",
        "        return self.base.weight\n",
        LORA,
    ),
    Bug(
        "dropout is silently left out where the weight is read", _L, "if self.training and self.dropout.p", "if 0", LORA
    ),
    Bug(
        "attention has the weight computed to ask for its dtype",
        _A,
        "weight = next(self.qkv.parameters())  # any: with LoRA, .weight would be computed for this",
        "weight = self.qkv.weight",
        LORA,
    ),
    # --- the beginning, and what learns
    Bug(
        "B is as random as A",
        _L,
        "base.weight.new_zeros(base.out_features, rank)",
        "a.new_ones(base.out_features, rank)",
        LORA,
    ),
    Bug("A begins much too large", _L, "* base.in_features**-0.5", "* base.in_features**0.5", LORA),
    Bug("A is uniform", _L, "torch.randn(rank,", "torch.rand(rank,", LORA),
    Bug(
        "A is not drawn from the generator that is given",
        _L,
        "generator=generator, device=device)",
        "device=device)",
        LORA,
    ),
    Bug(
        "A is in float32 beside a base of another dtype", _L, "nn.Parameter(a.to(base.weight))", "nn.Parameter(a)", LORA
    ),
    Bug(
        "the rest of the model learns on",
        _L,
        "    model.requires_grad_(False)\n    _replace(\n",
        "    _replace(\n",
        LORA,
    ),
    Bug("a new head stays frozen", _L, "        module.requires_grad_(True)\n", "        pass\n", LORA),
    Bug("a target is any part of a name", _L, 'f".{name}".endswith(f".{word}")', "word in name", LORA),
    Bug("a tied weight gets LoRA", _L, "if owners[id(module.weight)] > 1:", "if False:", LORA),
    Bug("a layer learns in full and by LoRA", _L, 'if f"{name}.".startswith(f"{other}.")]', "if name == other]", LORA),
    Bug(
        "a layer in two places is replaced in one", _L, "[*parent._modules.items()]", "[*parent.named_children()]", LORA
    ),
    # --- merged and apart
    Bug("LoRA is in training in a model that is not", _L, "        self.train(base.training)\n", "", LORA),
    Bug(
        "a merged weight learns", _L, "lora.merged_weight().detach(), requires_grad=False", "lora.merged_weight()", LORA
    ),
    Bug(
        "the detour hides in the state of a merged model",
        _L,
        "self._made_of = [lora]",
        "self.made_of, self._made_of = lora, [lora]",
        LORA,
    ),
    Bug("apart, it stays in the dtype of before", _L, "self._made_of[0].to(self.weight)", "self._made_of[0]", LORA),
    Bug("apart, it is in the mode of before", _L, ".to(self.weight).train(self.training)", ".to(self.weight)", LORA),
    # --- adapters
    Bug(
        "the whole base is saved", _L, "model.named_parameters() if p.requires_grad}", "model.named_parameters()}", LORA
    ),
    Bug(
        "the new head is not saved",
        _L,
        "named_parameters() if p.requires_grad}",
        'named_parameters() if "lora_" in n}',
        LORA,
    ),
    Bug(
        "a frozen adapter is saved without its head",
        _L,
        "lora_parameters(model).items() if not p.requires_grad]",
        "() if p]",
        LORA,
    ),
    Bug("any base of the same sizes will do", _L, '!= facts["base"]:', '== "":', LORA),
    Bug(
        "what learned counts as base",
        _L,
        "for name, tensor in own.items() if name not in learned}",
        "for name, tensor in own.items()}",
        LORA,
    ),
    Bug("sizes are not compared", _L, "!= (linear.in_features, linear.out_features):", "== (0, 0):", LORA),
    Bug(
        "a second adapter is put on the first",
        _L,
        "    _replace(model, {layer: layer.base for layer in old.values()})\n",
        "",
        LORA,
    ),
    Bug("a loaded head is not copied", _L, "            own[name].copy_(tensor)\n", "            pass\n", LORA),
    Bug("a loaded head stays frozen", _L, "parameter.requires_grad_(name in learned)", "pass", LORA),
    Bug("a loaded adapter forgets its alpha", _L, '"alpha": m.alpha,', '"alpha": m.rank,', LORA),
    Bug("loading an adapter uses up random numbers", _L, ", generator=torch.Generator())", ")", LORA),
    Bug(
        "the model is frozen before the adapter is refused",
        _L,
        "    _check_not_merged(model)\n    learned, settings",
        "    _check_not_merged(model.requires_grad_(False))\n    learned, settings",
        LORA,
    ),
]
