"""Span corruption: pieces of a text are cut out, each leaves a mark of its own, and the model writes what was there.

Raffel et al. 2020 (T5), section 3.1.4 and figure 2, whose example is

    text     Thank you for inviting me to your party last week .
    input    Thank you <X> me to your party <Y> week .
    target   <X> for inviting <Y> last <Z>

The marks are *sentinels*: tokens that stand in no text. In the target each goes before what it stands for, and where
the text ends with kept tokens, one more closes it: <Z>. The released code (t5/data/preprocessors.py: the two functions
``..._span_to_unique_sentinel``) does the same. But its random spans (``random_spans_noise_mask``; here
``random_spans``) always cut out the end of a text, so that no target of T5's own training had a <Z>. Both sides are
closed with an end token, which ``span_batch`` adds.

Sizes: T tokens of a text.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

import torch
from jaxtyping import Bool, Int
from numpy import float32
from torch import Tensor

from course_lib.arguments import check_at_least_one, check_generator
from course_lib.data.batches import Ids, PairBatch, checked_ids, checked_sequences, pair_batch


def random_spans(
    length: int, *, share: float = 0.15, mean_length: float = 3.0, generator: torch.Generator
) -> Bool[Tensor, "T"]:
    """Which of ``length`` tokens to cut out. Kept and cut runs take turns: a kept one first, a cut one last.

    How many tokens are cut (``share``), and in how many spans (``mean_length``), follows from the length. Of the ways
    to do that all are equally likely. A text of one token is kept.
    """
    check_at_least_one("length", length)
    check_generator(generator)
    if not 0 < share < 1:
        raise ValueError(f"share is {share}: it must be more than 0 and below 1")
    if not mean_length >= 1:
        raise ValueError(f"mean_length is {mean_length}: a span has at least 1 token")
    if length == 1:
        return torch.tensor([False])
    cut = min(max(round(float32(length) * float32(share)), 1), length - 1)  # float32, as in T5: 28.5 goes up there
    spans = max(round(float32(cut) / float32(mean_length)), 1)
    spans = min(spans, length - cut)  # one kept token before each: T5's code fails where there are too few
    runs = torch.stack([_random_parts(length - cut, spans, generator), _random_parts(cut, spans, generator)], dim=1)
    return torch.tensor([False, True]).repeat(spans).repeat_interleave(runs.flatten())


def cut_spans(ids: Ids, cut: Bool[Tensor, "T"], sentinel_ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Input and target, for a text whose tokens are taken out where ``cut`` is True. Sentinels are used in order."""
    tokens = checked_ids("ids", ids).tolist()
    if cut.shape != (len(tokens),):
        raise ValueError(f"cut has shape {tuple(cut.shape)}: it must be ({len(tokens)},), a value for each of ids")
    return _both_sides(tokens, cut, sentinel_ids)


def corrupt_spans(
    ids: Ids,
    *,
    sentinel_ids: Sequence[int],
    share: float = 0.15,
    mean_length: float = 3.0,
    generator: torch.Generator,
) -> tuple[list[int], list[int]]:
    """Input and target of one text with ``random_spans`` cut out, without end tokens."""
    tokens = checked_ids("ids", ids).tolist()
    cut = random_spans(len(tokens), share=share, mean_length=mean_length, generator=generator)
    return _both_sides(tokens, cut, sentinel_ids)


def restore_spans(source: Ids, target: Ids, sentinel_ids: Sequence[int]) -> list[int]:
    """The text: each sentinel of the input gives way to what stands behind it in the target.

    The target may be what a model wrote, and may be empty. A sentinel that it left out stands for nothing; what comes
    before the first sentinel, or behind one that is not in the input, is lost.
    """
    sentinels = {*sentinel_ids}
    spans: dict[int, list[int]] = {}
    span: list[int] = []
    for token in checked_ids("target", target).tolist() if len(target) else []:
        if token in sentinels:
            span = spans.setdefault(token, [])
        else:
            span.append(token)
    kept = checked_ids("source", source).tolist()
    return [token for i in kept for token in (spans.get(i, []) if i in sentinels else [i])]


def span_batch(
    texts: Iterable[Ids],
    *,
    sentinel_ids: Sequence[int],
    begin_id: int,
    end_id: int,
    share: float = 0.15,
    mean_length: float = 3.0,
    generator: torch.Generator,
) -> PairBatch:
    """Texts with ``random_spans`` cut out, for ``translation_loss`` with an encoder and a decoder.

    Inputs and targets are closed with ``end_id``. (T5 begins its targets with the padding token, 0.)
    """
    pairs = [
        corrupt_spans(ids, sentinel_ids=sentinel_ids, share=share, mean_length=mean_length, generator=generator)
        for ids in checked_sequences("texts", texts)
    ]
    return pair_batch([[*s, end_id] for s, _ in pairs], [t for _, t in pairs], begin_id=begin_id, end_id=end_id)


def _both_sides(tokens: list[int], cut: Tensor, sentinel_ids: Sequence[int]) -> tuple[list[int], list[int]]:
    _check_sentinels(sentinel_ids, tokens)
    runs = [(gone, [i for i, _ in run]) for gone, run in groupby(zip(tokens, cut.tolist(), strict=True), itemgetter(1))]
    needed = sum(gone for gone, _ in runs) + (not runs[-1][0])
    if needed > len(sentinel_ids):
        raise ValueError(f"sentinel_ids has {len(sentinel_ids)} ids: this text needs {needed}")
    sentinels = iter(sentinel_ids)
    source, target = [], []
    for gone, run in runs:
        if gone:
            sentinel = next(sentinels)
            source.append(sentinel)
            target += [sentinel, *run]
        else:
            source += run
    if not runs[-1][0]:
        target.append(next(sentinels))
    return source, target


def _random_parts(items: int, parts: int, generator: torch.Generator) -> Int[Tensor, "N"]:
    """The sizes of ``parts`` parts, none empty, that ``items`` items in a row are cut into at random."""
    cuts = torch.randperm(items - 1, generator=generator)[: parts - 1] + 1
    return torch.cat([torch.tensor([0]), cuts.sort().values, torch.tensor([items])]).diff()


def _check_sentinels(sentinel_ids: Sequence[int], tokens: list[int]) -> None:
    sentinels = {*sentinel_ids}
    if len(sentinels) < len(sentinel_ids):
        raise ValueError(f"sentinel_ids hold one id twice: {list(sentinel_ids)!r:.60}")
    if found := sorted(sentinels.intersection(tokens)):
        raise ValueError(f"ids hold {found[0]}, which is one of sentinel_ids: a sentinel must stand in no text")
