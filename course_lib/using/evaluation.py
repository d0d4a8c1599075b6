"""Evaluation: how good a model is, and how sure one can be of it.

A test set is a sample: another one would have given another score. The bootstrap (Efron & Tibshirani 1993, chapter 13)
asks how much the score moves when the same number of items is drawn anew from those at hand, with replacement, and
gives an interval. Two systems are compared on the same draws (Koehn 2004, section 4).

Scores are points from 0 to 100, as BLEU and SQuAD's are; perplexity is not. A ``Metric`` counts once for each item, and
is a function of the *sums* of these counts. So a resample costs a sum, even of F1 or BLEU, and is not the mean of a
thousand scores of single items.

Sizes: N items, C counts of each, R resamples, L labels.
"""

import inspect
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import update_wrapper
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.training.loop import LossFunction
from course_lib.training.measuring import nats_of

Counts = Float[np.ndarray, "N C"]
Sums = Float[np.ndarray, "R C"]
Scores = Float[np.ndarray, "R"]


class Metric:
    """A function of lists, item by item: ``accuracy(true, predicted)``. To make one, see ``scored_by``."""

    def __init__(self, counts: Callable[..., Counts], scores: Callable[[Sums], Scores]) -> None:
        self._counts, self.scores = counts, scores
        self._names = [*inspect.signature(counts).parameters]
        update_wrapper(self, counts)

    def __call__(self, *lists: Iterable[Any], **options: Any) -> float:
        return float(self.scores(self.counts(*lists, **options).sum(axis=0, keepdims=True))[0])

    def counts(self, *lists: Iterable[Any], **options: Any) -> Counts:
        """One row for each item. Raises ValueError where the lists have no items, or not the same number of them."""
        return self._counts(*_items(lists, self._names), **options)


def scored_by(scores: Callable[[Sums], Scores]) -> Callable[[Callable[..., Counts]], Metric]:
    """Put before a function that counts, it makes a Metric: ``scores`` gives a score for each row of summed counts."""
    return lambda counts: Metric(counts, scores)


class Interval(NamedTuple):
    """A score, and how low and how high it may be. It prints as 81.2 [79.5, 82.9]; f"{interval:.3f}" as you ask."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        value, low, high = (format(x, spec or "z.1f") for x in self)  # z: no -0.0
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)

    def __repr__(self) -> str:
        return format(self)  # so that a cell may end in it: no digits that depend on the processor


def bootstrap(
    metric: Callable[..., float],
    *lists: Iterable[Any],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    **options: Any,
) -> Interval:
    """``metric(*lists, **options)``, and the interval that holds it in ``level`` of the resamples (percentiles).

    ``bootstrap(accuracy, true, predicted)``. Items are drawn whole: a sentence with all its entities, a question with
    all its answers. Items that depend on each other (ten questions about one story) make the interval too narrow. Any
    function of lists will do as ``metric``, though one that is no Metric is called for each resample.
    """
    [values] = _resampled(metric, [lists], resamples, seed, level, options)
    return _interval(values, level)


def paired_bootstrap(
    metric: Callable[..., float],
    lists: Sequence[Iterable[Any]],
    baseline: Sequence[Iterable[Any]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    **options: Any,
) -> Interval:
    """By how much ``metric(*lists)`` is above ``metric(*baseline)``: ``paired_bootstrap(f, (true, new), (true, old))``.

    Item i must be the same in both. Each resample draws the same items for both, so that what is hard for both cancels
    out: the interval is far narrower than two single ones suggest. Where all of it is above 15, the gain is 15 or more.
    """
    ours, theirs = _resampled(metric, [lists, baseline], resamples, seed, level, options)
    return _interval(ours - theirs, level)


def _resampled(
    metric: Callable[..., float],
    systems: Sequence[Sequence[Iterable[Any]]],
    resamples: int,
    seed: int,
    level: float,
    options: dict[str, Any],
) -> list[Scores]:
    """For each system its score, and behind it those of all resamples."""
    check_at_least_one("resamples", resamples)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must be between 0 and 1, as 0.95")

    def scores_of(lists: list[list[Any]]) -> Scores:
        draws = _draws(len(lists[0]), resamples, seed)
        if isinstance(metric, Metric):
            counts = metric.counts(*lists, **options)
            return metric.scores(np.stack([np.bincount(draw, minlength=len(counts)) @ counts for draw in draws]))
        return np.array(
            [metric(*([items[i] for i in draw] for items in lists), **options) for draw in draws], dtype=float
        )

    plain = [_items(lists) for lists in systems]
    if len(plain[-1][0]) != len(plain[0][0]):
        sizes = f"{len(plain[-1][0])} items and lists {len(plain[0][0])}"
        raise ValueError(f"baseline has {sizes}: both must be the same items, in the same order")
    return [scores_of(lists) for lists in plain]


def _draws(size: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Every item once; then as many items, with replacement, for each resample. The same draws for the same seed."""
    yield np.arange(size)
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield random.integers(size, size=size)


def _interval(values: Scores, level: float) -> Interval:
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high))


def _items(lists: Sequence[Iterable[Any]], names: Sequence[str] = ()) -> list[list[Any]]:
    """The lists, of plain numbers where they were tensors. All must be of one length, and hold something."""
    if not lists:
        raise TypeError("lists are missing: a metric compares lists item by item, as accuracy(true, predicted)")
    names = [*names, *(f"list {number}" for number in range(len(names) + 1, len(lists) + 1))]
    plain = []
    for name, items in zip(names, lists, strict=False):
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise TypeError(f"{name} must be a list of items, not {items!r:.60}")
        plain.append([item.tolist() if isinstance(item, Tensor | np.ndarray | np.generic) else item for item in items])
        if len(plain[-1]) != len(plain[0]):
            raise ValueError(
                f"{name} has {len(plain[-1])} items and {names[0]} has {len(plain[0])}: they must be pairs"
            )
    if not plain[0]:
        raise ValueError(f"{names[0]} is empty: there is nothing to score")
    return plain


# --- classification --------------------------------------------------------------------------------------------------


def _share(sums: Sums) -> Scores:
    return 100 * sums[:, 0] / sums[:, 1]


def _f1(sums: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
    """2 P R / (P + R) of (right, predicted, true), which is 2 right / (predicted + true); 0 where there is neither."""
    right, predicted, true = np.moveaxis(sums, -1, 0)
    both = predicted + true
    return 200 * np.divide(right, both, out=np.zeros_like(both), where=both > 0)


def _mean_f1(sums: Sums) -> Scores:
    by_label = sums.reshape(len(sums), -1, 3)
    seen = by_label[:, :, 1:].any(axis=-1).sum(axis=-1)
    return _f1(by_label).sum(axis=-1) / np.maximum(seen, 1)


@scored_by(_share)
def accuracy(true: Sequence[Any], predicted: Sequence[Any]) -> Counts:
    """How many of 100 items are right."""
    return np.array([(t == p, 1) for t, p in zip(true, predicted, strict=True)], dtype=float)


@scored_by(_mean_f1)
def macro_f1(true: Sequence[Any], predicted: Sequence[Any]) -> Counts:
    """The mean of the F1 of each label: a rare one counts as much as a frequent one.

    A label that is neither true nor predicted has no F1, and does not count, as in scikit-learn.
    """
    labels = [*dict.fromkeys([*true, *predicted])]
    return np.concatenate([_of_labels(true, predicted, {label}) for label in labels], axis=1)


@scored_by(_f1)
def micro_f1(true: Sequence[Any], predicted: Sequence[Any], *, labels: Iterable[Any] | None = None) -> Counts:
    """The F1 of all ``labels`` together: a frequent one counts more. Leave out the label that means "nothing".

    With all labels (None) each mistake is one too many for one label and one too few for another: that is accuracy.
    """
    return _of_labels(true, predicted, {*true, *predicted} if labels is None else {*labels})


def _of_labels(true: Sequence[Any], predicted: Sequence[Any], labels: set[Any]) -> Float[np.ndarray, "N 3"]:
    """Of each item (right, predicted, true), where that is one of the labels."""
    pairs = zip(true, predicted, strict=True)
    return np.array([(t == p and t in labels, p in labels, t in labels) for t, p in pairs], dtype=float)


# --- entities --------------------------------------------------------------------------------------------------------


@scored_by(_f1)
def entity_f1(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Counts:
    """F1 of whole entities, of all types together, as CoNLL-2003 scores them: type, first and last word must be right.

    An item is the list of a sentence's tags in IOB2: B-PER opens a person, I-PER continues it, O is outside. Entities
    are found by seqeval (``mode="strict", scheme=IOB2`` there): an I- that continues nothing is no entity. A model may
    predict such tags; in ``true`` they raise ValueError, for there they are of another scheme.
    """
    from seqeval.scheme import IOB2, Entities  # loads scikit-learn: seconds that only this function needs

    for number, (tags, said) in enumerate(zip(true, predicted, strict=True)):
        _check_tags("true", number, tags)
        _check_tags("predicted", number, said)
        if len(tags) != len(said):
            raise ValueError(f"predicted[{number}] has {len(said)} tags and true[{number}] has {len(tags)}")
        for before, tag in zip(["O", *tags], tags, strict=False):
            if tag[0] == "I" and before[1:] != tag[1:]:
                raise ValueError(f"true[{number}] has {tag} behind {before}: in IOB2, an entity begins with B{tag[1:]}")
    sentences = zip(Entities([*true], IOB2).entities, Entities([*predicted], IOB2).entities, strict=True)
    return np.array([(len({*right} & {*found}), len(found), len(right)) for right, found in sentences], dtype=float)


def _check_tags(name: str, number: int, tags: Sequence[str]) -> None:
    if isinstance(tags, str):
        raise TypeError(f"{name}[{number}] is {tags!r:.60}: an item is the list of a sentence's tags")
    for tag in tags:
        if not isinstance(tag, str) or not re.fullmatch(r"O|[BI]-.+", tag):
            raise ValueError(f"{name}[{number}] has the tag {tag!r}: in IOB2 tags are O, B-TYPE and I-TYPE")


# --- answers ---------------------------------------------------------------------------------------------------------


def normalised_answer(text: str) -> str:
    """Lower case, no punctuation (ASCII), no articles, single spaces: what SQuAD compares."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


@scored_by(_share)
def exact_match(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> Counts:
    """SQuAD v1.1: how many of 100 predictions are one of the right answers, both normalised."""
    _check_answers(answers)
    pairs = zip(predicted, answers, strict=True)
    return np.array([(normalised_answer(p) in map(normalised_answer, right), 1) for p, right in pairs], dtype=float)


@scored_by(_share)
def answer_f1(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> Counts:
    """SQuAD v1.1: the mean over questions of the F1 of words, with the right answer that is closest.

    Words are what stands between spaces: this is not for Chinese.
    """
    _check_answers(answers)
    pairs = zip(predicted, answers, strict=True)
    return np.array([(max(_word_f1(p, answer) for answer in right), 1) for p, right in pairs], dtype=float)


def _word_f1(predicted: str, answer: str) -> float:
    said, right = normalised_answer(predicted).split(), normalised_answer(answer).split()
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right)) if common else 0.0


def _check_answers(answers: Sequence[Sequence[str]]) -> None:
    for number, right in enumerate(answers):
        if isinstance(right, str) or not right:
            raise ValueError(f"answers[{number}] is {right!r:.60}: it must be a list of right answers, as ['Paris']")


# --- texts -----------------------------------------------------------------------------------------------------------


def _bleu_of(sums: Sums) -> Scores:
    from sacrebleu.metrics import BLEU

    def score(right: list[int], said: list[int], lengths: list[int]) -> float:
        return BLEU.compute_bleu(right, said, lengths[0], lengths[1], smooth_method="exp").score

    return np.array([score(row[:4], row[4:8], row[8:]) for row in sums.astype(int).tolist()])


@scored_by(_bleu_of)
def bleu(hypotheses: Sequence[str], references: Sequence[str], *, language: str = "en") -> Counts:
    """BLEU of sacreBLEU (Post 2018), with its usual settings for the language *into* which was translated.

    One reference for each hypothesis. ``language`` is a code of two letters: "zh" compares Chinese by characters.
    """
    from sacrebleu.metrics import BLEU

    if not re.fullmatch("[a-z]{2}", language):
        raise ValueError(f"language is {language!r}: it must be a code of two letters, as 'en' or 'zh'")
    scorer = BLEU(trg_lang=language)
    scores = [scorer.corpus_score([h], [[r]]) for h, r in zip(hypotheses, references, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=float)


# --- perplexity ------------------------------------------------------------------------------------------------------


def _exponential(sums: Sums) -> Scores:
    with np.errstate(over="ignore"):  # infinity says it well enough
        return np.exp(sums[:, 0] / sums[:, 1])


@scored_by(_exponential)
def corpus_perplexity(nats: Sequence[float], targets: Sequence[int]) -> Counts:
    """exp(nats per target) of summed losses and numbers of targets, as ``nats_of`` gives them: to be bootstrapped."""
    if not all(targets):
        raise ValueError(f"targets[{[*targets].index(0)}] is 0: leave out texts in which there is nothing to predict")
    return np.array([*zip(nats, targets, strict=True)], dtype=float)


def perplexity(model: nn.Module, batches: Iterable[tuple[Tensor, ...]], loss: LossFunction) -> float:
    """exp(nats per target): among how many equally likely tokens the model seems to choose each time. 1 is the best.

    ``batches`` come to an end; ``loss`` is one of the training loop, as ``causal_loss``. Two models can be compared
    only where they have the same tokens.
    """
    return corpus_perplexity(*nats_of(model, batches, loss))
