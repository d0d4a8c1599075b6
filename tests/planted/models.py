"""Bugs in the models."""

from tests.planted.planting import Bug

NGRAM = ("tests/models/test_ngram.py",)
DECODER = ("tests/models/test_decoder.py",)
ENCODER_DECODER = ("tests/models/test_encoder_decoder.py",)
PARTS = ("tests/models/test_parts.py",)
FORMATS = ("tests/models/test_gpu.py",)

_D, _E, _P = "course_lib/models/decoder.py", "course_lib/models/encoder_decoder.py", "course_lib/models/parts.py"

BUGS = [
    # --- GPT
    Bug("the final norm is forgotten", _D, "        return self.norm(x)\n", "        return x\n", DECODER),
    Bug(
        "post-norm is normed twice at its end",
        _D,
        'self.norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()',
        "self.norm = NORMS[c.norm](c)",
        DECODER,
    ),
    Bug(
        "the tied head is a copy",
        _D,
        "            self.unembedding.weight = self.embedding.weight\n",
        "            self.unembedding.weight = nn.Parameter(self.embedding.weight.detach().clone())\n",
        DECODER,
    ),
    Bug(
        "positions start at 0 with a cache",
        _D,
        "                positions = caches[0].behind(positions)\n",
        "                pass\n",
        DECODER,
    ),
    Bug(
        "with a cache positions count its places, not what stands there",
        _D,
        "positions = caches[0].behind(positions)",
        "positions = positions + seen",
        DECODER,
    ),
    Bug(
        "the model's window is one too wide",
        _D,
        "sliding_window_mask(length, self.config.window, seen + length,",
        "sliding_window_mask(length, self.config.window + 1, seen + length,",
        DECODER,
    ),
    Bug(
        "the window forgets the mask",
        _D,
        "mask = window if mask is None else mask & window",
        "mask = window",
        DECODER,
    ),
    Bug(
        "with a mask the model sees its future",
        _D,
        "            mask = mask & causal_mask(length, seen + length, device=ids.device)\n",
        "            pass\n",
        DECODER,
    ),
    Bug(
        "the logit cap is applied twice",
        _P,
        "return logits if cap is None else cap * torch.tanh(logits / cap)",
        "return logits if cap is None else cap * torch.tanh(torch.tanh(logits / cap))",
        DECODER,
    ),
    Bug(
        "the cap forgets to divide",
        _P,
        "cap * torch.tanh(logits / cap)",
        "cap * torch.tanh(logits)",
        DECODER,
    ),
    Bug(
        "logits stay in half precision",
        _P,
        "    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))\n    return logits if cap",
        "    return logits if cap",
        FORMATS,
    ),
    Bug(
        "additions count the layers alone",
        _P,
        "std=std / (additions * layers) ** 0.5",
        "std=std / layers**0.5",
        DECODER,
    ),
    Bug(
        "a decoder with cross-attention counts two additions, not three",
        _P,
        'additions = 3 if "decoder" in name else 2',
        "additions = 2",
        ENCODER_DECODER,
    ),
    Bug(
        "zero init forgets the feed-forward",
        _P,
        '("attention.out.weight", "cross.out.weight", "feedforward.down.weight")',
        '("attention.out.weight", "cross.out.weight")',
        DECODER,
    ),
    Bug(
        "queries and keys are normed with the eps of nobody",
        _P,
        "RMSNorm(c.head_width, eps=c.norm_eps, scale=False) if c.qk_norm else None",
        "RMSNorm(c.head_width, eps=0.1, scale=False) if c.qk_norm else None",
        DECODER,
    ),
    Bug("attention knows no key heads", _D, ", kv_heads=c.kv_heads)", ")", DECODER),
    Bug(
        "attention has no dropout",
        _P,
        "            dropout=c.dropout,\n            scale=scale,\n",
        "            scale=scale,\n",
        DECODER,
    ),
    Bug("an id as large as the vocabulary passes", _P, "highest >= vocabulary", "highest > vocabulary", DECODER),
    Bug(
        "GPT-2 has the eps of Llama",
        _D,
        '        "norm_eps": 1e-5,\n',
        "",
        DECODER,
    ),
    Bug("GPT-2 has the exact GELU", _D, '"feedforward": "gelu-tanh"', '"feedforward": "gelu"', DECODER),
    # --- Transformer
    Bug(
        "the embedding is not scaled by √D",
        _E,
        "self.embedding(ids.long()) * self.embedding_scale",
        "self.embedding(ids.long())",
        ENCODER_DECODER,
    ),
    Bug(
        "positions are scaled too",
        _E,
        "        x = self.embedding(ids.long()) * self.embedding_scale\n"
        "        return self.dropout(scheme.add(x, positions))",
        "        x = self.embedding(ids.long())\n"
        "        return self.dropout(scheme.add(x, positions)) * self.embedding_scale",
        ENCODER_DECODER,
    ),
    Bug(
        "the decoder reads padding",
        _E,
        "                memory_mask=memory_mask,\n",
        "",
        ENCODER_DECODER,
    ),
    Bug(
        "the encoder reads padding",
        _E,
        "x = block(x, mask=mask, positions=positions)",
        "x = block(x, positions=positions)",
        ENCODER_DECODER,
    ),
    Bug(
        "the decoder sees its future",
        _E,
        "                causal=True,\n",
        "                causal=False,\n",
        ENCODER_DECODER,
    ),
    Bug(
        "the memory of a pre-norm encoder is not normed",
        _E,
        "        return self.encoder_norm(x)\n",
        "        return x\n",
        ENCODER_DECODER,
    ),
    Bug(
        "the norm behind the decoder is forgotten",
        _E,
        "self.unembedding(self.decoder_norm(x) * self",
        "self.unembedding(x * self",
        ENCODER_DECODER,
    ),
    Bug(
        "the target's positions start at 0 with a cache",
        _E,
        "torch.arange(seen, seen + target.shape[1], device=target.device)",
        "torch.arange(target.shape[1], device=target.device)",
        ENCODER_DECODER,
    ),
    Bug(
        "the target has the source's positions",
        _E,
        "x = self._embed(target, self.target_positions, positions)",
        "x = self._embed(target, self.source_positions, positions)",
        ENCODER_DECODER,
    ),
    Bug(
        "the encoder's distances have one direction",
        _E,
        "self.source_positions = POSITIONS[c.positions](c, False)",
        "self.source_positions = POSITIONS[c.positions](c, True)",
        PARTS,
    ),
    Bug(
        "queries and keys of cross-attention are not normed",
        _P,
        "scale=False) if c.qk_norm else None",
        "scale=False) if c.qk_norm and positions else None",
        ENCODER_DECODER,
    ),
    Bug(
        "the embedding starts as small as GPT's",
        _E,
        "        nn.init.normal_(self.embedding.weight, std=1 / self.embedding_scale)",
        "        nn.init.normal_(self.embedding.weight, std=0.02)",
        ENCODER_DECODER,
    ),
    Bug(
        "padding of another size passes",
        _E,
        "    if source_real.shape != source.shape[:2]:\n",
        "    if source_real.shape[1:] != source.shape[1:2]:\n",
        ENCODER_DECODER,
    ),
    # --- names and configurations
    Bug(
        "GELU by tanh is the exact one",
        _P,
        '"gelu-tanh": lambda c: FeedForward(c.width, c.hidden_width, gelu_tanh,',
        '"gelu-tanh": lambda c: FeedForward(c.width, c.hidden_width, F.gelu,',
        PARTS,
    ),
    Bug(
        "layer norm keeps its own eps",
        _P,
        "LayerNorm(c.width, eps=c.norm_eps, bias=c.bias)",
        "LayerNorm(c.width, bias=c.bias)",
        PARTS,
    ),
    Bug("rotary keeps its own base", _P, "Rotary(c.head_width, base=c.rotary_base)", "Rotary(c.head_width)", DECODER),
    Bug(
        "the gate has no bias",
        _P,
        "GatedFeedForward(c.width, c.hidden_width, F.silu, bias=c.bias,",
        "GatedFeedForward(c.width, c.hidden_width, F.silu,",
        DECODER,
    ),
    Bug(
        "heads need not fit the width",
        _P,
        "self.key_width is None and self.width % self.heads:",
        "self.key_width is None and self.width < self.heads:",
        PARTS,
    ),
    Bug(
        "key heads need not fit the heads",
        _D,
        "and self.heads % self.kv_heads:",
        "and self.heads < self.kv_heads:",
        PARTS,
    ),
    # --- counting
    Bug(
        "the borrowed probability is not weighed",
        "course_lib/models/ngram.py",
        "+ self.alpha * p) / (total + self.alpha)",
        "+ self.alpha) / (total + self.alpha)",
        NGRAM,
    ),
    Bug(
        "the end is not counted as a token",
        "course_lib/models/ngram.py",
        "tokens += len(sequence) + 1",
        "tokens += len(sequence)",
        NGRAM,
    ),
    Bug(
        "the model sees one token less",
        "course_lib/models/ngram.py",
        "tokens[i - self.order + 1 : i])\n            if p == 0",
        "tokens[i - self.order + 2 : i])\n            if p == 0",
        NGRAM,
    ),
    Bug(
        "temperature works upside down",
        "course_lib/models/ngram.py",
        "(p / top) ** (1 / temperature)",
        "(p / top) ** temperature",
        NGRAM,
    ),
]
