"""Bugs in evaluation: scores, what an item is, resampling, intervals, and how they print."""

from tests.planted.planting import Bug

EVALUATION = ("tests/using/test_evaluation.py",)

_E = "course_lib/using/evaluation.py"

BUGS = [
    # --- scores
    Bug("F1 is counted against the true ones alone", _E, "both = predicted + true", "both = 2 * true", EVALUATION),
    Bug("a label that nobody has counts as zero", _E, "/ np.maximum(seen, 1)", "/ by_label.shape[1]", EVALUATION),
    Bug(
        "a label that is only predicted has no F1", _E, "by_label[:, :, 1:].any(", "by_label[:, :, 2:].any(", EVALUATION
    ),
    Bug(
        "micro-F1 forgets its labels",
        _E,
        "if labels is None else {*labels})",
        "if labels is None else {*true})",
        EVALUATION,
    ),
    Bug("labels are those that are true", _E, "dict.fromkeys([*true, *predicted])", "dict.fromkeys(true)", EVALUATION),
    Bug(
        "entities need no type",
        _E,
        "Entities([*predicted], IOB2)",
        "Entities([[t[:1] + '-PER' if t > 'A' and t != 'O' else t for t in s] for s in predicted], IOB2)",
        EVALUATION,
    ),
    Bug("tags are of IOB1", _E, "import IOB2, Entities", "import IOB1 as IOB2, Entities", EVALUATION),
    Bug("truth in another scheme passes", _E, 'if tag[0] == "I" and before[1:] != tag[1:]:', "if False:", EVALUATION),
    Bug("an entity may go on with another type", _E, "and before[1:] != tag[1:]:", 'and before == "O":', EVALUATION),
    Bug("tags may begin with anything", _E, 'r"O|[BI]-.+"', 'r"O|[A-Z]-.+"', EVALUATION),
    Bug(
        "articles go before punctuation",
        _E,
        "for character in text.lower() if",
        'for character in re.sub(r"\\b(a|an|the)\\b", " ", text.lower()) if',
        EVALUATION,
    ),
    Bug("articles inside of words go too", _E, r'r"\b(a|an|the)\b"', 'r"(a|an|the)"', EVALUATION),
    Bug("upper case counts", _E, "text.lower()", "text", EVALUATION),
    Bug("the first answer alone is right", _E, "for answer in right), 1)", "for answer in right[:1]), 1)", EVALUATION),
    Bug("each word counts once", _E, "(Counter(said) & Counter(right)).total()", "len({*said} & {*right})", EVALUATION),
    Bug(
        "two empty answers have an F1 of 1", _E, "if common else 0.0", "if common else float(said == right)", EVALUATION
    ),
    Bug("Chinese is cut at spaces", _E, "BLEU(trg_lang=language)", "BLEU()", EVALUATION),
    Bug("any language will do", _E, 're.fullmatch("[a-z]{2}", language)', "language", EVALUATION),
    Bug("BLEU is not smoothed", _E, 'smooth_method="exp"', 'smooth_method="none"', EVALUATION),
    Bug("lengths change places", _E, "lengths[0], lengths[1]", "lengths[1], lengths[0]", EVALUATION),
    Bug("perplexity of base 2", _E, "np.exp(sums", "np.exp2(sums", EVALUATION),
    # --- intervals
    Bug("draws without replacement", _E, "random.integers(size, size=size)", "random.permutation(size)", EVALUATION),
    Bug(
        "one item is never drawn",
        _E,
        "random.integers(size, size=size)",
        "random.integers(max(size - 1, 1), size=size)",
        EVALUATION,
    ),
    Bug(
        "half as many items are drawn",
        _E,
        "random.integers(size, size=size)",
        "random.integers(size, size=size // 2 or 1)",
        EVALUATION,
    ),
    Bug("the seed is left unused", _E, "np.random.default_rng(seed)", "np.random.default_rng(0)", EVALUATION),
    Bug(
        "the interval has both tails on each side",
        _E,
        "[(1 - level) / 2, (1 + level) / 2]",
        "[1 - level, level]",
        EVALUATION,
    ),
    Bug("the level is always 0.95", _E, "[(1 - level) / 2, (1 + level) / 2]", "[0.025, 0.975]", EVALUATION),
    Bug(
        "the value is the mean of the resamples",
        _E,
        "Interval(float(values[0])",
        "Interval(float(values.mean())",
        EVALUATION,
    ),
    Bug(
        "items of the two lists are drawn apart",
        _E,
        "[items[i] for i in draw] for items in lists)",
        "[items[i] for i in (draw if items is lists[0] else draw[::-1])] for items in lists)",
        EVALUATION,
    ),
    Bug(
        "the two systems get their own draws",
        _E,
        "draws = _draws(len(lists[0]), resamples, seed)",
        "draws = _draws(len(lists[0]), resamples, seed + (lists is plain[0]))",
        EVALUATION,
    ),
    Bug(
        "the gain is turned round", _E, "_interval(ours - theirs, level)", "_interval(theirs - ours, level)", EVALUATION
    ),
    Bug("options are lost", _E, "metric.counts(*lists, **options)", "metric.counts(*lists)", EVALUATION),
    Bug(
        "an item is drawn once at most",
        _E,
        "np.bincount(draw, minlength=len(counts)) @ counts",
        "np.sign(np.bincount(draw, minlength=len(counts))) @ counts",
        EVALUATION,
    ),
    Bug(
        "F1 is resampled one item after the other",
        _E,
        "if isinstance(metric, Metric):",
        "if metric is accuracy:",
        EVALUATION,
    ),
    Bug("a metric hides its own text", _E, "        update_wrapper(self, counts)\n", "", EVALUATION),
    Bug("two decimals", _E, 'spec or "z.1f"', 'spec or "z.2f"', EVALUATION),
    Bug("minus nothing", _E, 'spec or "z.1f"', 'spec or ".1f"', EVALUATION),
    Bug("tensors in a list are compared as such", _E, "Tensor | np.ndarray | np.generic", "np.ndarray", EVALUATION),
]
