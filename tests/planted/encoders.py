"""Bugs in BERT, in its heads, and in T5's configuration of the Transformer."""

from tests.planted.planting import Bug

ENCODER = ("tests/models/test_encoder.py",)
HEADS = ("tests/models/test_heads.py",)
T5 = ("tests/models/test_t5.py",)
PARTS = ("tests/models/test_parts.py",)
WEIGHTS = ("tests/models/test_weights.py",)

_B, _H, _E = "course_lib/models/encoder.py", "course_lib/models/heads.py", "course_lib/models/encoder_decoder.py"
_P = "course_lib/models/parts.py"

BUGS = [
    # --- BERT
    Bug("BERT forgets its segments", _B, " + self.segment_embedding(segments.long())\n", "\n", ENCODER),
    Bug(
        "BERT reads padding",
        _B,
        "x = block(x, mask=mask, positions=positions)",
        "x = block(x, positions=positions)",
        ENCODER,
    ),
    Bug("BERT looks back only", _B, "x = block(x, mask=mask,", "x = block(x, mask=mask, causal=True,", ENCODER),
    Bug(
        "BERT's embedding is not normed",
        _B,
        "self.dropout(self.embedding_norm(self.positions.add(x, positions)))",
        "self.dropout(self.positions.add(x, positions))",
        ENCODER,
    ),
    Bug(
        "BERT's embedding is normed always",
        _B,
        "NORMS[c.norm](c) if c.embedding_norm else nn.Identity()",
        "NORMS[c.norm](c)",
        ENCODER,
    ),
    Bug(
        "the head of BERT is always two layers",
        _B,
        "self._transform() if c.head_transform else nn.Identity()",
        "self._transform()",
        ENCODER,
    ),
    Bug(
        "BERT adds positions behind the norm",
        _B,
        "self.embedding_norm(self.positions.add(x, positions))",
        "self.positions.add(self.embedding_norm(x), positions)",
        ENCODER,
    ),
    Bug("BERT pools the last position", _B, "self.pooler(hidden[:, 0])", "self.pooler(hidden[:, -1])", ENCODER),
    Bug(
        "BERT pools without tanh",
        _B,
        "torch.tanh(self.pooler(hidden[:, 0]))",
        "self.pooler(hidden[:, 0])",
        ENCODER,
    ),
    Bug("the head of BERT has GPT-2's GELU", _B, "nn.GELU()", 'nn.GELU(approximate="tanh")', ENCODER),
    Bug(
        "the head of BERT forgets its norm",
        _B,
        "nn.GELU(), NORMS[c.norm](c))",
        "nn.GELU(), nn.Identity())",
        ENCODER,
    ),
    Bug(
        "BERT's head is never tied",
        _B,
        "        if c.masked_head and c.tied:\n",
        "        if c.masked_head and not c.tied:\n",
        ENCODER,
    ),
    Bug(
        "a pre-norm BERT ends without a norm",
        _B,
        'self.norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()',
        "self.norm = nn.Identity()",
        ENCODER,
    ),
    Bug(
        "BERT's positions count to one side",
        _B,
        "POSITIONS[c.positions](c, False)",
        "POSITIONS[c.positions](c, True)",
        ENCODER,
    ),
    Bug(
        "segments of one row pass for all", _B, "given.shape != ids.shape", "given.shape[1:] != ids.shape[1:]", ENCODER
    ),
    Bug(
        "segments may be any number", _B, '        check_ids("segments", segments, self.config.segments)\n', "", ENCODER
    ),
    Bug(
        "a body without a head gives logits",
        _B,
        "        if not self.config.masked_head:\n",
        "        if False:\n",
        ENCODER,
    ),
    Bug("BERT's norms divide by more", _B, "norm_eps: float = 1e-12", "norm_eps: float = 1e-2", ENCODER),
    Bug("BERT cannot be loaded", "course_lib/models/weights.py", '    "BERT": (BERT, BERTConfig),\n', "", WEIGHTS),
    # --- heads
    Bug(
        "a classifier reads the first hidden vector",
        _H,
        "self.body.pooled(self.body.hidden(ids, real, segments))",
        "self.body.hidden(ids, real, segments)[:, 0]",
        HEADS,
    ),
    Bug(
        "spans forget padding",
        _H,
        "return self.classifier(self.body.hidden(ids, real, segments))",
        "return self.classifier(self.body.hidden(ids, None, segments))",
        HEADS,
    ),
    Bug(
        "a tagger drops nothing",
        _H,
        "self.classifier(self.dropout(self.body.hidden(",
        "self.classifier((self.body.hidden(",
        HEADS,
    ),
    Bug(
        "a classifier drops its answer",
        _H,
        "self.classifier(self.dropout(self.body.pooled(self.body.hidden(ids, real, segments))))",
        "self.dropout(self.classifier(self.body.pooled(self.body.hidden(ids, real, segments))))",
        HEADS,
    ),
    Bug(
        "a head stays float32",
        _H,
        "        self.classifier.to(next(body.parameters()))  # its device and dtype\n",
        "",
        HEADS,
    ),
    Bug("a new head is loud", _H, "std=0.02)", "std=1.0)", HEADS),
    Bug("any module passes for a body", _H, "if missing := [", "if False and [", HEADS),
    # --- T5
    Bug("T5 divides its scores", _E, '        "score_scale": 1.0,\n', "", T5),
    Bug("T5 scales its embedding", _E, '        "embedding_scale": 1.0,\n', "", T5),
    Bug("T5's tied head is not scaled", _E, '"head_scale": 1.0 if gated else width**-0.5', '"head_scale": 1.0', T5),
    Bug(
        "the decoder's output is scaled twice",
        _E,
        "(x) * self.config.head_scale)",
        "(x) * self.config.head_scale**2)",
        T5,
    ),
    Bug("T5 1.1 has a SwiGLU", _E, '"geglu-tanh" if gated', '"swiglu" if gated', T5),
    Bug("T5's head width is forgotten", _P, "            head_width=c.head_width,\n", "", T5),
    Bug("T5's embedding starts small", _E, "std=1 / self.embedding_scale)", "std=c.width**-0.5)", T5),
    Bug("T5 1.1 has a tied head", _E, '"tied": not gated', '"tied": True', T5),
    Bug("a scale of zero passes", _E, "is not None and not value > 0:", "is not None and not value >= 0:", T5),
    Bug(
        "a gate of T5 has the exact GELU",
        _P,
        "c.hidden_width, gelu_tanh, bias=c.bias, dropout=c.dropout),\n}",
        "c.hidden_width, F.gelu, bias=c.bias, dropout=c.dropout),\n}",
        PARTS,
    ),
    Bug(
        "a given head width is ignored",
        _P,
        "if self.key_width is None else self.key_width",
        "if True else self.key_width",
        PARTS,
    ),
]
