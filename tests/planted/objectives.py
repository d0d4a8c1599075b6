"""Bugs in the losses."""

from tests.planted.planting import Bug

CAUSAL = ("tests/objectives/test_causal.py",)
TRANSLATION = ("tests/objectives/test_translation.py",)

_C = "course_lib/objectives/causal.py"

BUGS = [
    Bug(
        "label smoothing shares among the others alone, V - 1",
        _C,
        "smoothing * (log_sum - logits.mean(dim=-1))",
        "smoothing * (log_sum * logits.shape[-1] - logits.sum(dim=-1) - nats) / (logits.shape[-1] - 1)",
        CAUSAL,
    ),
    Bug(
        "smoothing is added, and nothing taken from the target",
        _C,
        "nats = (1 - smoothing) * nats + smoothing",
        "nats = nats + smoothing",
        CAUSAL,
    ),
    Bug(
        "the mean counts ignored targets too",
        _C,
        "total / real.sum() if",
        "total / real.numel() if",
        CAUSAL,
    ),
    Bug(
        "smoothing learns from ignored places",
        _C,
        "    total = nats.masked_fill(~real, 0).sum()\n",
        "    total = (nats if smoothing else nats.masked_fill(~real, 0)).sum()\n",
        CAUSAL,
    ),
    Bug(
        "half precision is summed in half precision",
        _C,
        "    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))\n",
        "",
        CAUSAL,
    ),
    Bug(
        "float64 is rounded to float32",
        _C,
        "logits.to(torch.promote_types(logits.dtype, torch.float32))",
        "logits.float()",
        CAUSAL,
    ),
    Bug("the denominator overflows", _C, "logits.logsumexp(dim=-1)", "logits.exp().sum(dim=-1).log()", CAUSAL),
    Bug(
        "a target below 0 counts from the end",
        _C,
        "((targets < 0) | (targets >=",
        "((targets < -logits.shape[-1]) | (targets >=",
        CAUSAL,
    ),
    Bug(
        "a batch without targets is NaN",
        _C,
        'if reduction == "mean" and not real.any():',
        'if reduction == "mean" and not len(targets):',
        CAUSAL,
    ),
    Bug(
        "the count has the ignored ones in it",
        _C,
        "    return LossSum(total, (targets != IGNORE).sum())\n",
        "    return LossSum(total, (targets == targets).sum())\n",
        CAUSAL,
    ),
    Bug("packed documents read their neighbours", _C, "mask=document_mask(batch.document_ids), ", "", CAUSAL),
    Bug("packed documents go on counting", _C, ", positions=batch.positions)", ")", CAUSAL),
    Bug(
        "translation reads the padding of the source",
        "course_lib/objectives/translation.py",
        "model(batch.source, batch.target, batch.source_real)",
        "model(batch.source, batch.target)",
        TRANSLATION,
    ),
]
