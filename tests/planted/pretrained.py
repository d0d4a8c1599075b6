"""Bugs in reading and writing Hugging Face's folders."""

from tests.planted.planting import Bug

FOLDERS = ("tests/models/pretrained/test_folders.py",)
HEADS = ("tests/models/test_heads.py",)
TOKENIZERS = ("tests/models/pretrained/test_tokenizers.py",)

_ROOT = "course_lib/models/pretrained/"
_F, _C, _T = _ROOT + "folders.py", _ROOT + "conversion.py", _ROOT + "tokenizers.py"
_G, _L, _B, _T5 = _ROOT + "gpt2.py", _ROOT + "llama.py", _ROOT + "bert.py", _ROOT + "t5.py"

BUGS = [
    # --- folders
    Bug(
        "a missing tensor is left random",
        _F,
        "    missing = [name for name in expected if name not in tensors]\n",
        "    missing: list[str] = []\n    entries = [e for e in entries if set(e.theirs) <= tensors.keys()]\n",
        FOLDERS,
    ),
    Bug("an additional tensor is dropped", _F, "[name for name in tensors if name not in expected]", "[]", FOLDERS),
    Bug(
        "half a pooler is fresh, too",
        _F,
        "if missing and set(missing) == set(conversion.fresh) & set(expected):",
        "if missing and set(missing) <= set(conversion.fresh):",
        FOLDERS,
    ),
    Bug(
        "a shape is not compared",
        _F,
        "if tensor.shape != expected[name].shape:",
        "if tensor.ndim != expected[name].ndim:",
        FOLDERS,
    ),
    Bug(
        "tied tensors that differ pass",
        _F,
        "            if not torch.equal(tensors[name], tensors[original]):\n",
        "            if tensors[name].shape != tensors[original].shape:\n",
        FOLDERS,
    ),
    Bug(
        "everything becomes float32",
        _F,
        "    model.to(reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()}))\n",
        "",
        FOLDERS,
    ),
    Bug("a loaded model goes on dropping", _F, "    return model.eval()\n", "    return model\n", FOLDERS),
    Bug(
        "loading a folder of theirs uses up random numbers",
        _F,
        "with torch.random.fork_rng(devices=[]):",
        "with torch.no_grad():",
        FOLDERS,
    ),
    Bug(
        "short names are not found",
        _F,
        "    return {base + name: tensor for name, tensor in tensors.items()}\n",
        "    return tensors\n",
        FOLDERS,
    ),
    Bug(
        "a body alone is written with long names",
        _F,
        r"(?<!LMHead)Model$",
        r"(?<!LMHead)Body$",
        FOLDERS,
    ),
    Bug("a quantised model is read", _F, 'if settings.get("quantization_config") is not None:', "if False:", FOLDERS),
    Bug("integers are weights", _F, "        if not tensor.is_floating_point() and", "        if False and", FOLDERS),
    Bug(
        "shards may lie anywhere",
        _F,
        "isinstance(file, str) and Path(file).name == file",
        "isinstance(file, str)",
        FOLDERS,
    ),
    Bug("a path is a name on the hub", _F, r'r"\w[\w.-]*(/\w[\w.-]*)?"', r'r"[\w./-]+"', FOLDERS),
    Bug(
        "pickles are fetched, too", _F, '"model*.safetensors", INDEX]', '"model*.safetensors", "*.bin", INDEX]', FOLDERS
    ),
    Bug(
        "a file is written in its place",
        _F,
        "with write_whole(folder / WEIGHTS) as aside:",
        "for aside in [folder / WEIGHTS]:",
        FOLDERS,
    ),
    Bug("a part that they lack is written", _F, "        if not differ:\n", "        if len(differ) < 2:\n", FOLDERS),
    Bug("dropout of a head is forgotten", _F, "config.dropout if rate is None else rate)", "config.dropout)", HEADS),
    Bug(
        "roles of tokens do not reach the model",
        _F,
        '        settings |= {f"{role}_id"',
        '        _ = {f"{role}_id"',
        FOLDERS,
    ),
    Bug(
        "a tokenizer of another size passes",
        _F,
        "        if len(theirs) > config.vocabulary:\n",
        "        if False:\n",
        FOLDERS,
    ),
    Bug("the dtype is not written", _F, ', "dtype": _dtype_name(tensors)}', "}", FOLDERS),
    # --- settings and names
    Bug(
        "a setting is not looked at", _C, "if name in settings and settings[name] not in values:", "if False:", FOLDERS
    ),
    Bug("what is needed is guessed", _C, "    if settings.get(name) is None:\n", "    if False:\n", FOLDERS),
    Bug(
        "rows are taken apart in equal parts",
        _C,
        "lambda tensor: list(tensor.split(sizes))",
        "lambda tensor: list(tensor.chunk(len(sizes)))",
        FOLDERS,
    ),
    Bug(
        "the matrices of GPT-2 are not turned",
        _G,
        "((transposed, matrices), (renamed, norms))",
        "((renamed, matrices), (renamed, norms))",
        FOLDERS,
    ),
    Bug(
        "GPT-2's norms are swapped",
        _G,
        '{"attention_norm": "ln_1", "feedforward_norm": "ln_2"}',
        '{"attention_norm": "ln_2", "feedforward_norm": "ln_1"}',
        FOLDERS,
    ),
    Bug(
        "GPT-2's function is always the same",
        _G,
        'feedforward=ACTIVATIONS[settings.get("activation_function", "gelu_new")],\n',
        'feedforward="gelu-tanh",\n',
        FOLDERS,
    ),
    Bug("masks of an older GPT-2 stand in the way", _G, "    tidy=_tidy,\n", "", FOLDERS),
    Bug("Llama's keys come first", _L, '{"q": q, "k": kv, "v": kv}', '{"k": kv, "q": q, "v": kv}', FOLDERS),
    Bug(
        "Llama's gate and value are swapped", _L, 'for part in ("gate", "up")}', 'for part in ("up", "gate")}', FOLDERS
    ),
    Bug("Llama's base of rotation is the usual one", _L, "    return float(base)\n", "    return 10_000.0\n", FOLDERS),
    Bug("stretched rotation passes", _L, '    if kind != "default":\n', "    if kind is None:\n", FOLDERS),
    Bug(
        "Llama has as many key heads as heads",
        _L,
        "kv_heads=None if kv_heads == heads else kv_heads,",
        "kv_heads=None,",
        FOLDERS,
    ),
    Bug("BERT's queries and keys are swapped", _B, '("query", "key", "value")]', '("key", "query", "value")]', FOLDERS),
    Bug("BERT's norms have one number", _B, 'norm_eps=settings.get("layer_norm_eps", 1e-12),\n', "", FOLDERS),
    Bug("gamma and beta are unknown", _B, "    tidy=_tidy,\n", "", FOLDERS),
    Bug(
        "BERT without a head gets a random one",
        _B,
        "masked_head=any(name.startswith(_HEAD) for name in tensors),",
        "masked_head=True,",
        FOLDERS,
    ),
    Bug(
        "under a head BERT keeps its own",
        _B,
        "    bare=lambda config: replace(config, masked_head=False),\n",
        "",
        FOLDERS,
    ),
    Bug(
        "T5's halves share their buckets' names",
        _T5,
        'buckets = f"{half}.block.0',
        'buckets = "encoder.block.0',
        FOLDERS,
    ),
    Bug(
        "T5's feed-forward is where cross-attention is",
        _T5,
        'last = f"{theirs}{len(parts)}."',
        'last = f"{theirs}1."',
        FOLDERS,
    ),
    Bug("T5 is always scaled", _T5, "head_scale=width**-0.5 if scaled else 1.0,", "head_scale=width**-0.5,", FOLDERS),
    Bug(
        "T5's head is never its own",
        _T5,
        "tied=head is None or (shared is not None and torch.equal(head, shared)),",
        "tied=True,",
        FOLDERS,
    ),
    Bug(
        "T5 forgets whether it scales", _T5, '"tie_word_embeddings": scaled,', '"tie_word_embeddings": c.tied,', FOLDERS
    ),
    # --- tokenizers
    Bug(
        "words may reach over their ends",
        _T,
        '            pre_tokenizers.Split(words, behavior="isolated"),\n',
        "",
        TOKENIZERS,
    ),
    Bug(
        "what the pattern leaves out is one word",
        _T,
        r'rf"{tokenizer.pattern}|[\s\S]"',
        "tokenizer.pattern",
        TOKENIZERS,
    ),
    Bug("a space is put in front", _T, "add_prefix_space=False", "add_prefix_space=True", TOKENIZERS),
    Bug(
        "a byte has no letter of its own",
        _T,
        '*range(ord("®"), ord("ÿ") + 1)',
        '*range(ord("¯"), ord("ÿ") + 1)',
        TOKENIZERS,
    ),
    Bug("special tokens are ordinary", _T, "    theirs.add_special_tokens(", "    theirs.add_tokens(", TOKENIZERS),
    Bug("a role may go to any token", _T, " or token not in tokenizer.special_ids:\n", ":\n", TOKENIZERS),
    Bug(
        "one token with two meanings passes",
        _T,
        "        if theirs.token_to_id(token) != number:\n",
        "        if theirs.token_to_id(token) is None:\n",
        TOKENIZERS,
    ),
]
