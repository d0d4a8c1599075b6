"""Bugs in the pretraining command and in the loss curve that grows."""

from tests.planted.planting import Bug

PRETRAIN, COMMAND = "course_lib/training/pretrain.py", ("tests/training/test_pretrain.py",)
VIEW, CURVE = "course_lib/workshop/training_view.py", ("tests/workshop/test_training_view.py",)

BUGS = [
    Bug(
        "an encoder cannot train in two processes",
        PRETRAIN,
        "model.pooler.requires_grad_(False)",
        "model.pooler.requires_grad_(True)",
        COMMAND,
    ),
    Bug(
        "an encoder's words are hidden in pieces",
        PRETRAIN,
        "word_ids=_begins_word(tokenizer)[rows.ids].cumsum(dim=1)",
        "word_ids=None",
        COMMAND,
    ),
    Bug(
        "an encoder's held-out words are hidden anew each time",
        PRETRAIN,
        "generator = torch.Generator().manual_seed(0)",
        "generator = torch.Generator(); generator.seed()",
        COMMAND,
    ),
    Bug(
        "an encoder's rows have no mark at their end",
        PRETRAIN,
        "ids[: length - 2], sep]",
        "ids[: length - 1]]",
        COMMAND,
    ),
    Bug("a long text is as long as it likes", PRETRAIN, "*ids[: length - 2], sep", "*ids, sep", COMMAND),
    Bug("the share of hidden words is forgotten", PRETRAIN, "share=options.hidden_share", "share=1.0", COMMAND),
    Bug(
        "an encoder's loss is said to be a GPT's",
        PRETRAIN,
        "'hidden ' * (options.objective == 'masked')",
        "''",
        COMMAND,
    ),
    Bug(
        "documents in a row read from their neighbours",
        "course_lib/objectives/causal.py",
        "model(batch.ids, mask=document_mask(batch.document_ids), positions=batch.positions)",
        "model(batch.ids, positions=batch.positions)",
        COMMAND,
    ),
    Bug(
        "the loss is measured on the training stories",
        PRETRAIN,
        'world.stories("train", seed + 1)',
        'world.stories("train", seed)',
        COMMAND,
    ),
    Bug(
        "the first token of a document is not predicted",
        PRETRAIN,
        "([end, *ids] for ids in",
        "(ids for ids in",
        COMMAND,
    ),
    Bug(
        "held-out documents are trained on",
        PRETRAIN,
        'Texts(parts["train"][:documents]',
        'Texts([*parts["train"], *parts["test"]][:documents]',
        COMMAND,
    ),
    Bug(
        "the command in the facts forgets the seed",
        PRETRAIN,
        'skip = {"corpus",',
        'skip = {"seed", "corpus",',
        COMMAND,
    ),
    Bug(
        "the last batch of rows is taken for all",
        PRETRAIN,
        "packed_loss)\n    return sum(nats), sum(targets)",
        "packed_loss)\n    return nats[-1], targets[-1]",
        COMMAND,
    ),
    Bug(
        "the checkpoints that are asked for are not written",
        PRETRAIN,
        "Checkpoints(options.checkpoints, options.every) if options.checkpoints else None",
        "None",
        COMMAND,
    ),
    Bug(
        "the curve is drawn while outputs are compared",
        VIEW,
        'hasattr(get_ipython(), "kernel") and os.environ.get("TQDM_DISABLE", "") in {"", "0"}',
        'hasattr(get_ipython(), "kernel")',
        CURVE,
    ),
    Bug(
        "drawing may take all of the time",
        VIEW,
        "max(self.every, (now - began) / _SHARE)",
        "self.every",
        CURVE,
    ),
    Bug(
        "the curve of a second training replaces that of the first",
        VIEW,
        "self._handle, self._next = None, -1.0",
        "self._next = -1.0",
        CURVE,
    ),
    Bug(
        "a figure stays open and is drawn twice",
        VIEW,
        "plt.close(figure)",
        "pass",
        CURVE,
    ),
    Bug(
        "the running mean always covers ten steps",
        VIEW,
        "for size in [max(1, n // 10)]",
        "for size in [min(n, 10)]",
        CURVE,
    ),
]
