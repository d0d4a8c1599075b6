"""Bugs in what is hidden from a model, and in the losses of fine-tuning."""

from tests.planted.planting import Bug

MASKED = ("tests/objectives/test_masked.py",)
SPANS = ("tests/objectives/test_spans.py",)
TASKS = ("tests/objectives/test_tasks.py",)
CORRUPTION = ("tests/objectives/test_corruption.py",)

_M = "course_lib/objectives/masked.py"
_S = "course_lib/objectives/spans.py"
_T = "course_lib/objectives/tasks.py"
_C = "course_lib/objectives/corruption.py"

BUGS = [
    # --- masked
    Bug("all chosen tokens are hidden", _M, "(fate < 0.8, mask_id)", "(fate < 1.0, mask_id)", MASKED),
    Bug("a fifth of the chosen tokens become others", _M, "torch.where(fate < 0.9,", "torch.where(fate < 1.0,", MASKED),
    Bug(
        "a random token may be a special one",
        _M,
        "known = ordinary.nonzero().flatten()",
        "known = torch.arange(vocabulary)",
        MASKED,
    ),
    Bug("padding is chosen", _M, "can_be = real & ordinary", "can_be = ordinary", MASKED),
    Bug(
        "special tokens are chosen",
        _M,
        "can_be = real & ordinary.to(ids.device)[ids]",
        "can_be = real & (ids != mask_id)",
        MASKED,
    ),
    Bug(
        "a row may have no target",
        _M,
        "can_be & ((lots < share) | (lots == lots.amin(dim=1, keepdim=True)))",
        "can_be & (lots < share)",
        MASKED,
    ),
    Bug("the batch has a target, not each row", _M, "lots.amin(dim=1, keepdim=True)", "lots.amin()", MASKED),
    Bug("the first token of a word is chosen alone", _M, "lots.gather(1, begins.cumsum(dim=1))", "lots[:, 1:]", MASKED),
    Bug(
        "words with one number are one word wherever they stand",
        _M,
        "lots[:, 1:] = lots.gather(1, begins.cumsum(dim=1))",
        "lots = lots.gather(1, word_ids.long() % lots.shape[1] + 0 * begins.sum())",
        MASKED,
    ),
    Bug("a whole word is hidden with one draw", _M, "    fate = draw()\n", "    fate = lots / share\n", MASKED),
    Bug(
        "the targets are what is shown",
        _M,
        "ids.masked_fill(~chosen, IGNORE), real)",
        "torch.where(chosen, shown, ids).masked_fill(~chosen, IGNORE), real)",
        MASKED,
    ),
    Bug("all tokens are targets", _M, "ids.masked_fill(~chosen, IGNORE), real)", "ids, real)", MASKED),
    Bug(
        "the random numbers are PyTorch's own",
        _M,
        "torch.rand(ids.shape, generator=generator, device=generator.device)",
        "torch.rand(ids.shape, device=generator.device)",
        MASKED,
    ),
    Bug("the masked loss reads padding", _M, "model(batch.ids, batch.real)", "model(batch.ids)", MASKED),
    Bug("the mask token can be chosen", _M, '[("mask_id", mask_id), *(', "[*(", MASKED),
    # --- spans
    Bug("a cut token is lost where the text begins with it", _S, "if not runs[-1][0]:", "if not runs[0][0]:", SPANS),
    Bug("no sentinel closes the target", _S, "        target.append(next(sentinels))\n", "        pass\n", SPANS),
    Bug(
        "one sentinel for all spans",
        _S,
        "sentinels = iter(sentinel_ids)",
        "sentinels = iter([sentinel_ids[0]] * 99)",
        SPANS,
    ),
    Bug("sentinels from the last to the first", _S, "iter(sentinel_ids)", "iter(sentinel_ids[::-1])", SPANS),
    Bug("the sentinel goes behind its span", _S, "target += [sentinel, *run]", "target += [*run, sentinel]", SPANS),
    Bug("halves are rounded up", _S, "round(float32(length) * float32(share))", "int(length * share + 0.5)", SPANS),
    Bug("halves are rounded in float64", _S, "round(float32(length) * float32(share))", "round(length * share)", SPANS),
    Bug("a text may be cut out as a whole", _S, ", 1), length - 1)", ", 1), length)", SPANS),
    Bug(
        "more spans than kept tokens", _S, "    spans = min(spans, length - cut)", "    spans = min(spans, cut)", SPANS
    ),
    Bug("a cut run goes first", _S, "torch.tensor([False, True]).repeat", "torch.tensor([True, False]).repeat", SPANS),
    Bug(
        "parts are as long as each other",
        _S,
        "torch.randperm(items - 1, generator=generator)[: parts - 1] + 1",
        "torch.arange(1, parts) * items // parts",
        SPANS,
    ),
    Bug(
        "the last part is not free", _S, "torch.randperm(items - 1,", "torch.randperm(max(items - 2, parts - 1),", SPANS
    ),
    Bug("a repeated sentinel forgets its first span", _S, "spans.setdefault(token, [])", "spans[token] = []", SPANS),
    Bug("the input of a batch has no end", _S, "[[*s, end_id] for s, _ in pairs]", "[s for s, _ in pairs]", SPANS),
    Bug(
        "a sentinel in the text passes",
        _S,
        "if found := sorted(sentinels.intersection(tokens)):",
        "if found := sorted(sentinels.intersection(tokens[:-1])):",
        SPANS,
    ),
    # --- tasks
    Bug("an answer may lie in the padding", _T, "~batch.real[..., None]", "batch.real[..., None] & False", TASKS),
    Bug("the answer's text is no choice", _T, "logits.masked_fill(~batch.real", "logits.masked_fill(batch.real", TASKS),
    Bug("start and end compete", _T, "-torch.inf).mT, batch.labels", "-torch.inf), batch.labels", TASKS),
    Bug("start is end", _T, "-torch.inf).mT, batch.labels", "-torch.inf).mT.flip(1), batch.labels", TASKS),
    Bug(
        "an answer in the padding is a large loss, not an error",
        _T,
        "-torch.inf).mT",
        "torch.finfo(logits.dtype).min).mT",
        TASKS,
    ),
    Bug(
        "classification reads padding",
        _T,
        'nats per row."""\n    return loss_sum(model(batch.ids, batch.real, batch.segments)',
        'nats per row."""\n    return loss_sum(model(batch.ids, None, batch.segments)',
        TASKS,
    ),
    Bug(
        "classification knows no segments",
        _T,
        'nats per row."""\n    return loss_sum(model(batch.ids, batch.real, batch.segments)',
        'nats per row."""\n    return loss_sum(model(batch.ids, batch.real)',
        TASKS,
    ),
    Bug(
        "tagging reads padding",
        _T,
        'first of a word."""\n    return loss_sum(model(batch.ids, batch.real, batch.segments)',
        'first of a word."""\n    return loss_sum(model(batch.ids, None, batch.segments)',
        TASKS,
    ),
    Bug(
        "answers know no segments",
        _T,
        "    logits = model(batch.ids, batch.real, batch.segments)\n",
        "    logits = model(batch.ids, batch.real)\n",
        TASKS,
    ),
    # --- corruption
    Bug(
        "each batch is corrupted alike",
        _C,
        "return self._corrupt(next(self._batches), self._generator)",
        "return self._corrupt(next(self._batches), seeded_generator(self._made_of['seed']))",
        CORRUPTION,
    ),
    Bug(
        "the corruption's numbers are not remembered",
        _C,
        '        self._generator.set_state(state["generator"])\n',
        "",
        CORRUPTION,
    ),
    Bug(
        "the place in the texts is not remembered",
        _C,
        '        self._batches.load_state_dict(state["batches"])\n',
        "",
        CORRUPTION,
    ),
    Bug("a state of another seed is taken", _C, "        check_made_of(self._made_of, state)\n", "", CORRUPTION),
    Bug(
        "every seed corrupts alike",
        _C,
        "self._generator = seeded_generator(seed)",
        "self._generator = seeded_generator(0 * seed)",
        CORRUPTION,
    ),
    Bug(
        "a batch is skipped",
        _C,
        "self._corrupt(next(self._batches),",
        "self._corrupt((next(self._batches), next(self._batches))[1],",
        CORRUPTION,
    ),
    Bug(
        "a source without a state is found out at the first checkpoint",
        _C,
        'for method in ("__next__", "state_dict", "load_state_dict"):',
        'for method in ("__next__",):',
        CORRUPTION,
    ),
    Bug("numbers are taken for what is real", _M, "or real.dtype != torch.bool)", "or False)", MASKED),
    Bug("masking draws from any generator", _M, "    check_generator(generator)\n", "", MASKED),
    Bug("spans are drawn from any generator", _S, "    check_generator(generator)\n", "", SPANS),
    Bug("a model must write something", _S, ".tolist() if len(target) else []", ".tolist()", SPANS),
]
