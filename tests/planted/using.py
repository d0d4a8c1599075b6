"""Bugs in what uses a model: generation, beam search, maps of attention, and models on disk."""

from tests.planted.planting import Bug

GENERATION = ("tests/using/test_generation.py",)
TRANSLATE = ("tests/using/test_translate.py",)
MAPS = ("tests/using/test_interpretation.py",)
WEIGHTS = ("tests/models/test_weights.py",)

_G, _I, _W = "course_lib/using/generation.py", "course_lib/using/interpretation.py", "course_lib/models/weights.py"

BUGS = [
    # --- writing
    Bug(
        "with a cache, the whole text is read again behind itself",
        _G,
        "ids = chosen if cache else torch.cat([ids, chosen], dim=1)",
        "ids = torch.cat([ids, chosen], dim=1)",
        GENERATION,
    ),
    Bug(
        "every position goes through the head, and all but one are thrown away",
        _G,
        "model.head(model.hidden(ids, caches=caches)[:, -1])",
        "model.head(model.hidden(ids, caches=caches))[:, -1]",
        GENERATION,
    ),
    Bug("a row that has ended writes on", _G, "chosen = chosen.masked_fill(ended, stop_id)", "pass", GENERATION),
    Bug("the weights stay stored by columns", _G, "linear.weight.data = by_rows\n", "pass\n", GENERATION),
    Bug(
        "by columns, the numbers are at wrong places",
        _G,
        "by_rows.T.contiguous().T",
        "by_rows.T.reshape(by_rows.shape)",
        GENERATION,
    ),
    Bug("the first row that ends ends all", _G, "and ended.all():", "and ended.any():", GENERATION),
    Bug(
        "a stop token in the prompt ends the row",
        _G,
        "ended = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)",
        "ended = (ids == (-1 if stop_id is None else stop_id)).any(dim=1, keepdim=True)",
        GENERATION,
    ),
    Bug(
        "a high temperature makes the likely likelier",
        _G,
        ") / temperature).softmax",
        ") * temperature).softmax",
        GENERATION,
    ),
    Bug(
        "close to temperature 0 the logits overflow",
        _G,
        "((logits - logits.amax(dim=-1, keepdim=True)) / temperature)",
        "(logits / temperature)",
        GENERATION,
    ),
    Bug("a dart at 0 draws an id of probability 0", _G, "dart = 1 - torch.rand(", "dart = torch.rand(", GENERATION),
    Bug("all rows get the same dart", _G, "torch.rand(len(probabilities), 1,", "torch.rand(1, 1,", GENERATION),
    Bug("a generator of one's own is left unused", _G, "temperature), generator)", "temperature))", GENERATION),
    Bug(
        "the last id needs a learned position too",
        _G,
        "prompt.shape[1] + max_tokens - 1)",
        "prompt.shape[1] + max_tokens)",
        GENERATION,
    ),
    Bug(
        "learned positions may run out while writing",
        _G,
        "prompt.shape[1] + max_tokens - 1)",
        "prompt.shape[1])",
        GENERATION,
    ),
    Bug(
        "between two tokens of a stream the model is in evaluation",
        _G,
        "            with evaluating(model):  # not in between, where the caller may do anything with the model\n"
        "                step = next(steps, None)",
        "            model.eval()\n            step = next(steps, None)",
        GENERATION,
    ),
    Bug(
        "what is written cannot be trained on",
        _G,
        "    with evaluating(model), _stored",
        "    with evaluating(model), torch.inference_mode(), _stored",
        GENERATION,
    ),
    Bug(
        "a stream shows the probabilities before temperature",
        _G,
        "next_probabilities(logits, temperature)[0]",
        "next_probabilities(logits, 1.0)[0]",
        GENERATION,
    ),
    # --- beam search
    Bug("all beams start alike", _G, "total[:, 0] = 0", "total[:, :] = 0", TRANSLATE),
    Bug("beams go on from the first source's", _G, "first + index // vocabulary", "index // vocabulary", TRANSLATE),
    Bug("the cache stays with the old beams", _G, "cache.target.select(rows)", "pass", TRANSLATE),
    Bug("the texts stay with the old beams", _G, "torch.cat([texts[rows], ", "torch.cat([texts, ", TRANSLATE),
    Bug("the end is not counted in the length", _G, "/ ((5 + length) / 6) **", "/ ((4 + length) / 6) **", TRANSLATE),
    Bug("the length penalty multiplies", _G, "float(total[b, k]) / ((5", "float(total[b, k]) * ((5", TRANSLATE),
    Bug("an end that only the reserve reached counts", _G, "[:, :beams].nonzero()", ".nonzero()", TRANSLATE),
    Bug("an impossible text counts as ended", _G, "(ends & total.isfinite())", "ends", TRANSLATE),
    Bug("one ended text is enough", _G, "all(len(targets) >= beams for", "all(len(targets) >= 1 for", TRANSLATE),
    Bug("a source that is done collects on", _G, "if unfinished[b]:", "if unfinished:", TRANSLATE),
    Bug("ended texts go on", _G, "total.masked_fill(ends, -math.inf).topk", "total.topk", TRANSLATE),
    Bug("the first ended text wins", _G, "max(targets)[1]", "targets[0][1]", TRANSLATE),
    Bug("padding is read", _G, "memory_real, caches)[:, -1]", "None, caches)[:, -1]", TRANSLATE),
    Bug("the end stays in the result", _G, "ids[:-1] if ids[-1] == end_id else ids", "ids", TRANSLATE),
    # --- maps
    Bug("a hook stays", _I, "            hook.remove()", "            pass", MAPS),
    Bug("dropout thins the maps", _I, "with evaluating(model), torch.no_grad():", "with torch.no_grad():", MAPS),
    Bug("maps keep gradients", _I, "with evaluating(model), torch.no_grad():", "with evaluating(model):", MAPS),
    Bug("a cache is overlooked", _I, 'if named.get("cache") is not None:', "if False:", MAPS),
    Bug(
        "maps forget the mask",
        _I,
        'if key != "cache"}',
        'if key not in ("cache", "mask")}',
        MAPS,
    ),
    # --- models on disk
    Bug("a pair may be mixed", _W, "if _sha256(file) != sha256:", "if not sha256:", WEIGHTS),
    Bug(
        "loading uses up random numbers",
        _W,
        "with torch.random.fork_rng(devices=[]):",
        "with torch.no_grad():",
        WEIGHTS,
    ),
    Bug("what is loaded is in training", _W, "return model.eval(), facts", "return model, facts", WEIGHTS),
    Bug(
        "a model that cannot be built again is saved",
        _W,
        "if type(model) is not MODELS.get(kind",
        "if kind not in MODELS and MODELS.get(kind",
        WEIGHTS,
    ),
    Bug(
        "the tokenizer may be too large",
        _W,
        "if tokenizer.vocab_size > vocabulary:",
        "if tokenizer.vocab_size > 2 * vocabulary:",
        WEIGHTS,
    ),
    Bug("a name may lead out of the folder", _W, "if name not in names:", "if not (SHIPPED / name).is_dir():", WEIGHTS),
    # --- the clock of chapter 00
    Bug(
        "the slider does not move the clock",
        "course_lib/workshop/widgets.py",
        'ipywidgets.link((widget, "value"), (slider, "value"))',
        'ipywidgets.dlink((widget, "value"), (slider, "value"))',
        ("tests/workshop/test_widgets.py",),
    ),
    Bug(
        "a model without any map has an empty one",
        _I,
        "    if not layers:\n",
        "    if False:\n",
        MAPS,
    ),
    Bug(
        "the tokenizer is replaced before its model",
        _W,
        "tokenizer.save(aside)\n",
        "tokenizer.save(aside)\n        tokenizer.save(file)\n",
        WEIGHTS,
    ),
    Bug("a model with LoRA is written", _W, 'if name.endswith(".lora_a")]', 'if name.endswith(".lora")]', WEIGHTS),
]
