"""Bugs in XLNet: the model, its objective, and the names of its tensors in Hugging Face's files."""

from tests.planted.planting import Bug

MODEL = ("tests/models/test_permutation.py",)
OBJECTIVE = ("tests/objectives/test_permutation.py",)
PRETRAINED = ("tests/models/pretrained/test_xlnet.py",)

_M, _O = "course_lib/models/permutation.py", "course_lib/objectives/permutation.py"
_P = "course_lib/models/pretrained/xlnet.py"
_READ = "read.append(torch.cat([before, x[:, :length]], dim=1).detach())"

BUGS = [
    # --- the model
    Bug(
        "content does not read itself",
        _M,
        "torch.cat([mask | itself, of_queries]",
        "torch.cat([mask, of_queries]",
        MODEL,
    ),
    Bug(
        "queries read themselves",
        _M,
        "of_queries = mask.gather(1,",
        "of_queries = (mask | itself).gather(1,",
        MODEL,
    ),
    Bug(
        "queries have the mask of the first positions, not of their own",
        _M,
        "of_queries = mask.gather(1, at[:, :, None].expand(-1, -1, length))",
        "of_queries = mask[:, : at.shape[1]]",
        MODEL,
    ),
    Bug(
        "queries stand where they come in the list",
        _M,
        "rows_at = torch.cat([here.expand(rows, -1), at], dim=1)",
        "rows_at = torch.cat([here.expand(rows, -1), torch.arange(at.shape[1]).expand_as(at)], dim=1)",
        MODEL,
    ),
    Bug(
        "the query stream starts from the tokens that it predicts",
        _M,
        "self.query_start.expand(rows, asked, -1)], dim=1)",
        "self.query_start + self.embedding(ids.long().gather(1, at))], dim=1)",
        MODEL,
    ),
    Bug(
        "queries are keys too",
        _M,
        "content = x[:, : len(places.keys) - memory.shape[1]]",
        "content = x[:, -(len(places.keys) - memory.shape[1]) :]",
        MODEL,
    ),
    Bug("keys and values are swapped", _M, "        k, v = self._by_heads(", "        v, k = self._by_heads(", MODEL),
    Bug("the memory is at the place of the text", _M, "Places(past + rows_at,", "Places(rows_at,", MODEL),
    Bug(
        "the memory cannot be read",
        _M,
        "F.pad(may_read, (past, 0), value=True)",
        "F.pad(may_read, (past, 0), value=False)",
        MODEL,
    ),
    Bug("the memory is of no segment", _M, "F.pad(segments, (past, 0))", "F.pad(segments, (past, 0), value=-1)", MODEL),
    Bug("gradients flow into the memory", _M, "x[:, :length]], dim=1).detach())", "x[:, :length]], dim=1))", MODEL),
    Bug(
        "the memory keeps the last piece alone",
        _M,
        _READ,
        "read.append(x[:, :length].detach())",
        MODEL,
    ),
    Bug(
        "the memory holds what a layer wrote, not what it read",
        _M,
        f"            {_READ}\n            x = block(x, before, places)\n",
        f"            x = block(x, before, places)\n            {_READ}\n",
        MODEL,
    ),
    Bug(
        "with pre-norm the memory is not normed",
        _M,
        "self.attention(self.attention_norm(x), self.attention_norm(memory), places)",
        "self.attention(self.attention_norm(x), memory, places)",
        MODEL,
    ),
    Bug(
        "the segment vectors are swapped",
        _M,
        "other_segment = of_rows[:, :, None] != of_keys",
        "other_segment = of_rows[:, :, None] == of_keys",
        MODEL,
    ),
    Bug(
        "the segment bias is not scaled",
        _M,
        "both.gather(-1, index) / math.sqrt(q.shape[-1])",
        "both.gather(-1, index)",
        MODEL,
    ),
    Bug("the segment bias forgets its own b", _M, "both = (q + self.b[:, None, :]) @", "both = q @", MODEL),
    Bug("padding is read", _M, "        mask = mask & visible\n", "", MODEL),
    Bug("the final norm is forgotten", _M, "self.dropout(self.norm(x)).split", "self.dropout(x).split", MODEL),
    Bug(
        "attention's weights have no dropout",
        _M,
        "v, places.mask[:, None], bias, dropout=dropout)",
        "v, places.mask[:, None], bias)",
        MODEL,
    ),
    Bug(
        "the content stream answers",
        _M,
        "streams.content if queries is None else streams.query",
        "streams.content",
        MODEL,
    ),
    Bug(
        "queries without a mask are let through",
        _M,
        "    if mask is None:\n        raise ValueError(",
        "    if False:\n        raise ValueError(",
        MODEL,
    ),
    # --- the objective
    Bug("the rank is the order", _O, "rank = orders.argsort(dim=1)", "rank = orders", OBJECTIVE),
    Bug(
        "later is earlier", _O, "rank[:, None, :] < rank[:, :, None]", "rank[:, None, :] > rank[:, :, None]", OBJECTIVE
    ),
    Bug(
        "what is predicted reads itself",
        _O,
        "rank[:, None, :] < rank[:, :, None]",
        "rank[:, None, :] <= rank[:, :, None]",
        OBJECTIVE,
    ),
    Bug(
        "one target too many is context",
        _O,
        "in_context = rank < context[:, None]",
        "in_context = rank <= context[:, None]",
        OBJECTIVE,
    ),
    Bug("context does not read context", _O, "return before | in_context[:, None, :]", "return before", OBJECTIVE),
    Bug("padding comes first", _O, "masked_fill(~real, 1.0)", "masked_fill(~real, -1.0)", OBJECTIVE),
    Bug("padding is shuffled in", _O, ".masked_fill(~real, 1.0)", "", OBJECTIVE),
    Bug(
        "all rows have one order",
        _O,
        "torch.rand(real.shape, generator",
        "torch.rand((1, real.shape[1]), generator",
        OBJECTIVE,
    ),
    Bug(
        "the first of the order are predicted",
        _O,
        "lengths[:, None] - asked + torch.arange(asked, device=ids.device)",
        "0 * lengths[:, None] + torch.arange(asked, device=ids.device)",
        OBJECTIVE,
    ),
    Bug(
        "the row's end is that of the batch",
        _O,
        "places = lengths[:, None] - asked",
        "places = ids.shape[1] - asked + 0 * lengths[:, None]",
        OBJECTIVE,
    ),
    Bug("context is a target too", _O, "places < context[:, None], IGNORE", "places < 0, IGNORE", OBJECTIVE),
    Bug("a share of a short row is nothing", _O, ".round().long().clamp(min=1)", ".round().long()", OBJECTIVE),
    Bug(
        "the share counts padding",
        _O,
        "predicted = (share * lengths)",
        "predicted = (share * torch.full_like(lengths, ids.shape[1]))",
        OBJECTIVE,
    ),
    Bug(
        "the loss counts what it ignores",
        _O,
        "(batch.targets != IGNORE).sum())",
        "torch.tensor(batch.targets.numel()))",
        OBJECTIVE,
    ),
    Bug(
        "the loss is a mean already",
        _O,
        'batch.targets, reduction="sum")',
        'batch.targets, reduction="mean")',
        OBJECTIVE,
    ),
    # --- the names of its tensors
    Bug(
        "the waves keep their order",
        _P,
        "inner.join(tensors).unflatten(1, (2, -1)).mT.flatten(1)",
        "inner.join(tensors)",
        MODEL,
    ),
    Bug(
        "u and v are swapped",
        _P,
        '"attention.positions.u": "rel_attn.r_w_bias",\n        "attention.positions.v": "rel_attn.r_r_bias",',
        '"attention.positions.u": "rel_attn.r_r_bias",\n        "attention.positions.v": "rel_attn.r_w_bias",',
        MODEL,
    ),
    Bug(
        "v stands for k",
        _P,
        'theirs + "rel_attn.k", theirs + "rel_attn.v")',
        'theirs + "rel_attn.v", theirs + "rel_attn.k")',
        MODEL,
    ),
    Bug(
        "the norms are swapped",
        _P,
        '"attention_norm": "rel_attn.layer_norm",',
        '"attention_norm": "ff.layer_norm",',
        MODEL,
    ),
    Bug(
        "matrices are not turned when they are written",
        _P,
        "[rows.mT.unflatten(1,",
        "[rows.reshape(rows.mT.shape).unflatten(1,",
        PRETRAINED,
    ),
    Bug(
        "the waves are written in our order",
        _P,
        "inner.split(tensor.unflatten(1, (-1, 2)).mT.flatten(1))",
        "inner.split(tensor)",
        PRETRAINED,
    ),
    Bug(
        "the width of the feed-forward is not read",
        _P,
        '        hidden=required(settings, "d_inner"),\n',
        "",
        PRETRAINED,
    ),
    Bug("a head of its own is not read", _P, "    if not c.tied:\n", "    if False:\n", PRETRAINED),
    Bug(
        "a model that reads to one side is let in",
        _P,
        '        attn_type=("bi",),  # "uni" is a Transformer-XL\n',
        "",
        PRETRAINED,
    ),
    Bug("clamped distances are let in", _P, "        clamp_len=(-1,),\n", "", PRETRAINED),
    Bug("the eps is not read", _P, '        norm_eps=settings.get("layer_norm_eps", 1e-12),\n', "", PRETRAINED),
]
