"""Answers to the exercises of chapter 07, right and wrong, as learners write them."""

import math
import re
import statistics
import string
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from seqeval.scheme import IOB2, Entities
from torch import nn

from course_lib.data.labels import spans_of
from course_lib.training.lora import LoRALinear
from course_lib.using.evaluation import answer_f1, exact_match, normalised_answer

# --- token_labels -----------------------------------------------------------------------------------------------------


def labels_seen(labels, word_of):
    """A word that was seen before is a further piece."""
    seen, out = set(), []
    for word in word_of:
        if word is None or word in seen:
            out.append(-100)
        else:
            out.append(labels[word])
            seen.add(word)
    return out


def labels_filled_in(labels, word_of):
    """-100 everywhere, and then a label at each word's first place."""
    out = [-100] * len(word_of)
    for word, label in enumerate(labels):
        if word in word_of:
            out[word_of.index(word)] = label
    return out


def labels_grouped(labels, word_of):
    out: list[int] = []
    for word, group in groupby(word_of):
        size = len(list(group))
        out += [-100] * size if word is None else [labels[word]] + [-100] * (size - 1)
    return out


def labels_backwards(labels, word_of):
    """From the end on: what is at the first place is written last."""
    place = {word: i for i, word in reversed(list(enumerate(word_of))) if word is not None}
    return [labels[word] if place.get(word) == i else -100 for i, word in enumerate(word_of)]


def labels_friend(labels, word_of):
    return [-100 if word is None else labels[word] for word in word_of]


def labelling(further=lambda label: -100, special=-100, first=lambda word, before, after: word != before):
    def token_labels(labels, word_of):
        out = []
        for before, word, after in zip([None, *word_of], word_of, [*word_of[1:], None], strict=False):
            if word is None:
                out.append(special)
            else:
                out.append(labels[word] if first(word, before, after) else further(labels[word]))
        return out

    return token_labels


def labels_if_word(labels, word_of):
    out, before = [], None
    for word in word_of:
        out.append(labels[word] if word and word != before else -100)
        before = word
    return out


def labels_one_by_one(labels, word_of):
    out, number = [], 0
    for word in word_of:
        if word is None or number >= len(labels):
            out.append(-100)
        else:
            out.append(labels[number])
            number += 1
    return out


def labels_one_by_one_careless(labels, word_of):
    waiting = list(labels)
    return [-100 if word is None else waiting.pop(0) for word in word_of]


def labels_without_specials(labels, word_of):
    return [label for label, word in zip(labels_seen(labels, word_of), word_of, strict=True) if word is not None]


def labels_without_further(labels, word_of):
    return [x for x, w in zip(labels_seen(labels, word_of), word_of, strict=True) if w is None or x != -100]


def labels_that_count(labels, word_of):
    return [label for label in labels_seen(labels, word_of) if label != -100]


def labels_new_label(labels, word_of):
    out, before = [], -100
    for word in word_of:
        label = -100 if word is None else labels[word]
        out.append(-100 if label == before else label)
        before = label
    return out


# --- tagged_entities --------------------------------------------------------------------------------------------------


def first_tags(tags, word_of):
    return [tags[word_of.index(word)] for word in sorted({word for word in word_of if word is not None})]


def entities_of_seqeval(tags, word_of):
    [found] = Entities([first_tags(tags, word_of)], IOB2).entities
    return [(entity.tag, entity.start, entity.end - 1) for entity in found]


def entities_of_the_library(tags, word_of):
    said = first_tags(tags, word_of)
    return [(kind, first, last) for first, last, kind in spans_of(said, [(i, i) for i in range(len(said))])]


def entities_looking_ahead(tags, word_of):
    said, found = first_tags(tags, word_of), []
    for i, tag in enumerate(said):
        if tag.startswith("B-"):
            last = i
            while last + 1 < len(said) and said[last + 1] == "I" + tag[1:]:
                last += 1
            found.append([tag.split("-", 1)[1], i, last])
    return found


def entities_by_pattern(tags, word_of):
    """All tags as one text, with a number for each kind."""
    said = first_tags(tags, word_of)
    kinds = sorted({tag[2:] for tag in said if tag != "O"})
    text = "".join(f"{tag[0]}{kinds.index(tag[2:]) if tag != 'O' else 0}" for tag in said)
    return [
        (kinds[int(match[1])], match.start() // 2, match.end() // 2 - 1)
        for match in re.finditer(r"B(\d)(?:I\1)*", text)
    ]


def entities_at_the_end(tags, word_of):
    """Stored when it is closed."""
    found, open_one = [], None
    for word, tag in enumerate([*first_tags(tags, word_of), "O"]):
        edge, _, kind = tag.partition("-")
        if edge == "I" and open_one and open_one[0] == kind:
            continue
        if open_one:
            found.append((*open_one, word - 1))
            open_one = None
        if edge == "B":
            open_one = (kind, word)
    return found


def first_of_each(tags, word_of):
    before, out = None, []
    for tag, word in zip(tags, word_of, strict=True):
        if word is not None and word != before:
            out.append((word, tag))
        before = word
    return out


def reading(
    words: Callable[..., Any] = first_of_each,
    goes_on: Callable[..., bool] = lambda tag, kind: tag[0] == "I" and tag[2:] == kind,
    opens: Callable[..., bool] = lambda tag: tag[0] == "B",
    closes: Callable[..., bool] = lambda tag, kind: True,
    entity: Callable[..., Any] = lambda tag, a, b: (tag[2:], a, b),
    end: bool = True,
) -> Callable[..., Any]:
    """A loop that stores an entity when it ends."""

    def tagged_entities(tags, word_of):
        found, kind, now = [], None, None
        for word, tag in words(tags, word_of):
            if now and goes_on(tag, kind):
                now[2] = word
            elif opens(tag):
                if now:
                    found.append(entity(*now))
                now, kind = [tag, word, word], tag[2:]
            elif closes(tag, kind):
                if now:
                    found.append(entity(*now))
                now, kind = None, None
        if now and end:
            found.append(entity(*now))
        return found

    return tagged_entities


def words_by_dict(tags, word_of):
    said = dict(zip(word_of, tags, strict=True))
    said.pop(None, None)
    return said.items()


def words_all(tags, word_of):
    return [(word, tag) for tag, word in zip(tags, word_of, strict=True) if word is not None]


def words_as_tokens(tags, word_of):
    return [(i, tags[i]) for i, word in enumerate(word_of) if word is not None and word not in word_of[:i]]


def words_all_tokens(tags, word_of):
    return enumerate(tags)


def words_with_specials(tags, word_of):
    before, out = "nothing", []
    for tag, word in zip(tags, word_of, strict=True):
        if word != before:
            out.append((word, tag))
        before = word
    return out


# --- with_adapter -----------------------------------------------------------------------------------------------------


def adapter_in_two_steps(x, w, a, b, alpha):
    rank = len(a)
    down = F.linear(x, a)
    up = F.linear(down, b)
    return F.linear(x, w) + up * alpha / rank, torch.add(w, b @ a, alpha=alpha / rank)


def adapter_einsum(x, w, a, b, alpha):
    scale = alpha / b.shape[1]
    out = torch.einsum("...d,ed->...e", x, w) + scale * torch.einsum("...d,rd,er->...e", x, a, b)
    return out, w + scale * torch.einsum("er,rd->ed", b, a)


def adapter_merged_first(x, w, a, b, alpha):
    merged = (w.double() + alpha / a.size(0) * b.double() @ a.double()).float()
    return x @ merged.mT, merged


def adapter_of_the_library(x, w, a, b, alpha):
    base = nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer = LoRALinear(base, rank=len(a), alpha=alpha)
    with torch.no_grad():
        for parameter, value in ((base.weight, w), (layer.lora_a, a), (layer.lora_b, b)):
            parameter.copy_(value)
    return layer(x), layer.merged_weight()


def adapter_rank_by_rank(x, w, a, b, alpha):
    out, merged = x @ w.T, w.clone()
    for r in range(a.shape[0]):
        out = out + alpha / a.shape[0] * (x @ a[r])[..., None] * b[:, r]
        merged += alpha / a.shape[0] * torch.outer(b[:, r], a[r])
    return out, merged


def adapting(scale=lambda alpha, a, b: alpha / a.shape[0], out=None, weight=None):
    def with_adapter(x, w, a, b, alpha):
        s = scale(alpha, a, b)
        output = out(x, w, a, b, s) if out else x @ w.T + s * (x @ a.T @ b.T)
        return output, weight(w, a, b, s) if weight else w + s * (b @ a)

    return with_adapter


def adapter_in_place(x, w, a, b, alpha):
    out = x @ w.T + alpha / len(a) * (x @ a.T @ b.T)
    w += alpha / len(a) * b @ a
    return out, w


def adapter_merged_and_left_on(x, w, a, b, alpha):
    merged = w + alpha / len(a) * b @ a
    return x @ merged.T + alpha / len(a) * (x @ a.T @ b.T), merged


def adapter_swapped(x, w, a, b, alpha):
    return adapting()(x, w, a, b, alpha)[::-1]


def adapter_not_turned(x, w, a, b, alpha):
    return x @ w + alpha / len(a) * x @ a @ b, w + b @ a


# --- best_answer ------------------------------------------------------------------------------------------------------


def answer_by_a_table(start, end, inside, longest):
    """All sums in a table of T by T, as the library does it."""
    table = start[:, None] + end[None, :]
    size = len(start)
    length = torch.arange(size)[None, :] - torch.arange(size)[:, None] + 1
    bad = (length < 1) | (length > longest) | ~inside[:, None] | ~inside[None, :]
    best = int(table.masked_fill(bad, -math.inf).argmax())
    i, j = divmod(best, size)
    return None if start[0] + end[0] > table[i, j] else (i, j)


def answer_by_loops(start, end, inside, longest):
    best, found = -float("inf"), None
    for i in range(len(start)):
        for j in range(len(end)):
            if not inside[i] or not inside[j] or j < i or j - i + 1 > longest:
                continue
            if start[i].item() + end[j].item() > best:
                best, found = start[i].item() + end[j].item(), (i, j)
    if (start[0] + end[0]).item() > best:
        return None
    return found


def answer_with_triu(start, end, inside, longest):
    s, e = start.masked_fill(~inside, -1e9), end.masked_fill(~inside, -1e9)
    ones = torch.ones(len(s), len(s), dtype=torch.bool)
    allowed = ones.triu() & ones.tril(longest - 1)
    table = torch.where(allowed, s.unsqueeze(1) + e, torch.tensor(-2e9))
    i, j = torch.unravel_index(table.argmax(), table.shape)
    return None if table[i, j] < start[0] + end[0] else (i, j)


def answer_with_windows(start, end, inside, longest):
    """For each start the best end near it, with NumPy."""
    s = np.where(inside.numpy(), start.numpy(), -np.inf)
    e = np.where(inside.numpy(), end.numpy(), -np.inf)
    ends = [i + int(np.argmax(e[i : i + longest])) for i in range(len(s))]
    i = max(range(len(s)), key=lambda i: s[i] + e[ends[i]])
    if start[0] + end[0] > s[i] + e[ends[i]]:
        return None
    return [i, ends[i]]


def answering(
    allowed=lambda i, j, inside, longest: inside[i] and inside[j] and i <= j and j - i < longest,
    score=lambda s, e: s + e,
    before=lambda scores: scores,
    none=lambda start, end, i, j, inside: start[0] + end[0] > start[i] + end[j],
    place=lambda i, j, inside: (i, j),
):
    def best_answer(start, end, inside, longest):
        s, e, where = before(start).tolist(), before(end).tolist(), inside.tolist()
        best = None
        for i in range(len(s)):
            for j in range(len(e)):
                if allowed(i, j, where, longest) and (best is None or score(s[i], e[j]) > best[0]):
                    best = (score(s[i], e[j]), i, j)
        assert best is not None
        _, i, j = best
        return None if none(start, end, i, j, inside) else place(i, j, inside)

    return best_answer


def answer_two_argmaxes(start, end, inside, longest):
    outside = ~inside
    return int(start.masked_fill(outside, -1e9).argmax()), int(end.masked_fill(outside, -1e9).argmax())


def answer_argmax_anywhere(start, end, inside, longest):
    return start.argmax().item(), end.argmax().item()


def answer_start_then_end(start, end, inside, longest):
    i = int(start.masked_fill(~inside, -1e9).argmax())
    e = end.masked_fill(~inside, -1e9)[i : i + longest]
    return i, i + int(e.argmax())


def answer_end_then_start(start, end, inside, longest):
    j = int(end.masked_fill(~inside, -1e9).argmax())
    first = max(0, j - longest + 1)
    return first + int(start.masked_fill(~inside, -1e9)[first : j + 1].argmax()), j


def answer_zeros(start, end, inside, longest):
    return answer_by_loops(start, end, inside, longest) or (0, 0)


def answer_never(start, end, inside, longest):
    return None


def answer_past_the_end(start, end, inside, longest):
    pairs = [(i, j) for i in range(len(start)) for j in range(i, i + longest) if inside[i] and inside[j]]
    return max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])


# --- answer_scores ----------------------------------------------------------------------------------------------------


def scores_of_squad(said, answers):
    """As the script of SQuAD v1.1 does it."""

    def normalize_answer(s):
        def remove_articles(text):
            return re.sub(r"\b(a|an|the)\b", " ", text)

        def remove_punc(text):
            exclude = set(string.punctuation)
            return "".join(ch for ch in text if ch not in exclude)

        return " ".join(remove_articles(remove_punc(s.lower())).split())

    def f1_score(prediction, ground_truth):
        prediction_tokens = normalize_answer(prediction).split()
        ground_truth_tokens = normalize_answer(ground_truth).split()
        common = Counter(prediction_tokens) & Counter(ground_truth_tokens)
        num_same = sum(common.values())
        if num_same == 0:
            return 0
        precision = 1.0 * num_same / len(prediction_tokens)
        recall = 1.0 * num_same / len(ground_truth_tokens)
        return (2 * precision * recall) / (precision + recall)

    exact = max(normalize_answer(said) == normalize_answer(answer) for answer in answers)
    return exact, max(f1_score(said, answer) for answer in answers)


def scores_of_the_library(said, answers):
    return exact_match([said], [answers]) / 100, answer_f1([said], [answers]) / 100


def scores_translated(said, answers):
    table = str.maketrans("", "", string.punctuation)

    def bag(text):
        words = text.translate(table).lower().split()
        return [word for word in words if word not in ("a", "an", "the")]

    exact, best = 0, 0.0
    for answer in answers:
        left, said_words = bag(answer), bag(said)
        total = len(left) + len(said_words)
        exact = max(exact, int(left == said_words))
        common = 0
        for word in said_words:
            if word in left:
                left.remove(word)
                common += 1
        best = max(best, 2 * common / total if common else 0.0)
    return exact, best


def scores_sorted(said, answers):
    """Joined texts and counts by min."""

    def text_of(text):
        kept = [c.lower() for c in text if c not in string.punctuation]
        return " ".join(word for word in "".join(kept).split() if word not in {"a", "an", "the"})

    def f1(x, y):
        x, y = text_of(x).split(), text_of(y).split()
        both = sum(min(x.count(word), y.count(word)) for word in set(x))
        p, r = (both / len(words) if words else 0.0 for words in (x, y))
        return 2 * p * r / (p + r) if p + r > 0 else 0.0

    return [float(any(text_of(said) == text_of(a) for a in answers)), sorted(f1(said, a) for a in answers)[-1]]


def words_right(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return [word for word in text.split() if word not in {"a", "an", "the"}]


def harmonic(common, said, right):
    return 2 * common / (len(said) + len(right)) if common else 0.0


def common_words(said, right):
    return sum((Counter(said) & Counter(right)).values())


def scoring(
    text=lambda text: " ".join(words_right(text)),
    same=lambda said, right: said == right,
    words=words_right,
    f1=lambda said, right: harmonic(common_words(said, right), said, right),
    of_exact=max,
    of_f1=max,
):
    def answer_scores(said, answers):
        exact = [1.0 if same(text(said), text(answer)) else 0.0 for answer in answers]
        return of_exact(exact), of_f1([f1(words(said), words(answer)) for answer in answers])

    return answer_scores


def part(common, words):
    return common / len(words) if words else 0.0


def text_by(*steps):
    def text_of(text):
        for step in steps:
            text = step(text)
        return text

    return text_of


def without_marks(text):
    return text.translate(str.maketrans("", "", string.punctuation))


def marks_as_spaces(text):
    return text.translate(str.maketrans(string.punctuation, " " * len(string.punctuation)))


def without_articles(text):
    return " ".join(word for word in text.split() if word not in {"a", "an", "the"})


def articles_to_nothing(text):
    return re.sub(r"\b(a|an|the)\b", "", text)


def articles_in_any_case(text):
    return " ".join(word for word in text.split() if word.lower() not in {"a", "an", "the"})


def articles_replaced(text):
    for article in ("the", "an", "a"):
        text = text.replace(article, "")
    return " ".join(text.split())


def single_spaces(text):
    return " ".join(text.split())


def scores_dividing_by_zero(said, answers):
    best = 0.0
    for answer in answers:
        x, y = words_right(said), words_right(answer)
        common = common_words(x, y)
        p, r = common / len(x), common / len(y)
        best = max(best, 2 * p * r / (p + r))
    return float(any(words_right(said) == words_right(answer) for answer in answers)), best


def scores_joined(said, answers):
    return scoring()(said, [" ".join(answers)])


def mean_of(numbers):
    return sum(numbers) / len(numbers)


# --- gain_interval ----------------------------------------------------------------------------------------------------


def points(counts):
    return 200 * counts[..., 0] / (counts[..., 1] + counts[..., 2])


def gain_by_loops(new, old, draws):
    gains = []
    for draw in draws.tolist():
        both = []
        for counts in (new.tolist(), old.tolist()):
            right = sum(counts[i][0] for i in draw)
            both.append(200 * right / sum(counts[i][1] + counts[i][2] for i in draw))
        gains.append(both[0] - both[1])
    gains.sort()
    return gains[int(0.025 * len(gains))], gains[int(0.975 * len(gains))]


def gain_by_percentiles(new, old, draws):
    gains = [float(points(new[draw].sum(0)) - points(old[draw].sum(0))) for draw in draws]
    return tuple(np.percentile(gains, (2.5, 97.5)))


def gain_in_torch(new, old, draws):
    gains = points(new[draws].sum(dim=1)) - points(old[draws].sum(dim=1))
    return torch.quantile(gains, torch.tensor([0.025, 0.975]))


def gain_by_counting_draws(new, old, draws):
    """How often each sentence is in each draw, times its counts."""
    often = torch.stack([torch.bincount(draw, minlength=len(new)) for draw in draws]).double()
    gains = points(often @ new.double()) - points(often @ old.double())
    cuts = statistics.quantiles(gains.tolist(), n=40)
    return cuts[0], cuts[-1]


def gaining(f1=points, of=lambda new, old: new - old, ends=lambda gains: np.quantile(gains, [0.025, 0.975]).tolist()):
    def gain_interval(new, old, draws):
        scores = [np.array([float(f1(counts[draw].sum(0))) for draw in draws]) for counts in (new, old)]
        return tuple(ends(of(*scores)))

    return gain_interval


def gain_two_intervals(new, old, draws):
    a, b = (np.quantile([float(points(c[d].sum(0))) for d in draws], [0.025, 0.975]) for c in (new, old))
    return float(a[0] - b[1]), float(a[1] - b[0])


def gain_ends_apart(new, old, draws):
    a, b = (np.quantile([float(points(c[d].sum(0))) for d in draws], [0.025, 0.975]) for c in (new, old))
    return float(a[0] - b[0]), float(a[1] - b[1])


def gain_of_sentences(new, old, draws):
    each = points(new) - points(old)
    return tuple(np.quantile([float(each[draw].mean()) for draw in draws], [0.025, 0.975]))


def gain_of_means_of_sentences(new, old, draws):
    gains = [float(points(new)[draw].mean() - points(old)[draw].mean()) for draw in draws]
    return tuple(np.quantile(gains, [0.025, 0.975]))


def gain_masked(new, old, draws):
    gains = []
    for draw in draws:
        drawn = torch.zeros(len(new), dtype=torch.bool)
        drawn[draw] = True
        gains.append(float(points(new[drawn].sum(0)) - points(old[drawn].sum(0))))
    return tuple(np.quantile(gains, [0.025, 0.975]))


def gain_sets(new, old, draws):
    chosen = [sorted(set(draw.tolist())) for draw in draws]
    return tuple(np.quantile([float(points(new[c].sum(0)) - points(old[c].sum(0))) for c in chosen], [0.025, 0.975]))


def around(reach):
    return lambda gains: (gains.mean() - 1.96 * reach(gains), gains.mean() + 1.96 * reach(gains))


def plain_mean_of_both(counts):
    return 100 * (counts[0] / counts[1] + counts[0] / counts[2]) / 2


RIGHT = {
    "adapter_numbers": [
        ("a number", 1327104),
        ("a float", 12 * 8 * (4 * 1536 + 2 * 3840.0)),
        ("a tensor", torch.tensor(1_327_104)),
        ("NumPy", np.int64(1_327_104)),
        (
            "PyTorch counts",
            sum(
                8 * sum(nn.Linear(i, o, bias=False, device="meta").weight.shape)
                for _ in range(12)
                for i, o in [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
            ),
        ),
    ],
    "token_labels": [
        ("a set of what was seen", labels_seen),
        ("filled in", labels_filled_in),
        ("groupby", labels_grouped),
        ("backwards", labels_backwards),
        ("the word before", labelling()),
    ],
    "tagged_entities": [
        ("seqeval", entities_of_seqeval),
        ("the library", entities_of_the_library),
        ("looking ahead", entities_looking_ahead),
        ("a regular expression", entities_by_pattern),
        ("stored at the end", entities_at_the_end),
        ("a loop", reading()),
    ],
    "with_adapter": [
        ("F.linear", adapter_in_two_steps),
        ("einsum", adapter_einsum),
        ("merged first, in float64", adapter_merged_first),
        ("the library", adapter_of_the_library),
        ("rank by rank", adapter_rank_by_rank),
    ],
    "best_answer": [
        ("a table", answer_by_a_table),
        ("loops", answer_by_loops),
        ("triu and tril", answer_with_triu),
        ("windows in NumPy", answer_with_windows),
    ],
    "answer_scores": [
        ("SQuAD's own script", scores_of_squad),
        ("the library", scores_of_the_library),
        ("translate and remove", scores_translated),
        ("joined texts", scores_sorted),
    ],
    "gain_interval": [
        ("loops, and sorted", gain_by_loops),
        ("percentiles", gain_by_percentiles),
        ("all in PyTorch", gain_in_torch),
        ("how often each was drawn", gain_by_counting_draws),
        ("NumPy", gaining()),
    ],
}

WRONG = {
    "adapter_numbers": [
        ("one_block", 110592),
        ("one_of_two", 8 * 12 * (4 * 768 + 768 + 3072)),
        ("query_and_value", 294_912),
        ("attention_only", 12 * 4 * 8 * 1536),
        ("feed_forward_only", 12 * 2 * 8 * 3840),
        ("down_missing", 12 * 8 * (4 * 1536 + 3840)),
        ("all_square", 12 * 6 * 8 * 1536.0),
        ("three_in_one", 12 * 8 * (3072 + 1536 + 3840 + 3840)),
        ("in_full", 84_934_656),
        ("rank_times_matrix", 8 * 84_934_656),
        ("rank_missing", 165_888),
        ("scale_counted", 2_654_208),
        ("biases_counted", 1_327_104 + 12 * (4 * 768 + 3072 + 768)),
        ("head_counted", 1_327_104 + 768 * 7 + 7),
        ("unknown", 1_000_000),
        ("wrong_kind", "1,327,104"),
    ],
    "token_labels": [
        ("every_piece", labels_friend),
        ("begin_then_inside", labelling(further=lambda label: label + 1 if label % 2 else label)),
        ("further_outside", labelling(further=lambda label: 0)),
        ("specials_outside", labelling(special=0)),
        ("all_outside", labelling(further=lambda label: 0, special=0)),
        ("last_piece", labelling(first=lambda word, before, after: word != after)),
        ("word_0_special", labels_if_word),
        ("in_a_row", labels_one_by_one),
        ("raised", labels_one_by_one_careless),
        ("specials_dropped", labels_without_specials),
        ("further_dropped", labels_without_further),
        ("all_dropped", labels_that_count),
        ("compares_labels", labels_new_label),
    ],
    "tagged_entities": [
        ("neighbours_joined", reading(goes_on=lambda tag, kind: tag != "O" and tag[2:] == kind)),
        ("one_word_each", reading(goes_on=lambda tag, kind: False)),
        ("last_lost", reading(end=False)),
        ("end_behind", reading(entity=lambda tag, a, b: (tag[2:], a, b + 1))),
        ("kind_cut", reading(entity=lambda tag, a, b: (tag.split("-")[1], a, b))),
        ("last_part_of_kind", reading(entity=lambda tag, a, b: (tag.rsplit("-", 1)[1], a, b))),
        ("tag_kept", reading(entity=lambda tag, a, b: (tag, a, b))),
        ("kind_last", reading(entity=lambda tag, a, b: (a, b, tag[2:]))),
        ("strays_open", reading(opens=lambda tag: tag != "O")),
        ("other_kind_goes_on", reading(goes_on=lambda tag, kind: tag[0] == "I")),
        ("over_a_gap", reading(closes=lambda tag, kind: tag != "O")),
        ("stray_leaves_open", reading(closes=lambda tag, kind: tag == "O")),
        ("never_closed", reading(closes=lambda tag, kind: False)),
        ("any_goes_on", reading(goes_on=lambda tag, kind: tag[0] == "I", closes=lambda tag, kind: False)),
        ("all_pieces", reading(words_all)),
        ("last_pieces", reading(words_by_dict)),
        ("token_places", reading(words_as_tokens)),
        ("every_token", reading(words_all_tokens)),
        ("specials_too", reading(words_with_specials)),
    ],
    "with_adapter": [
        ("scale_missing", adapting(lambda alpha, a, b: 1)),
        ("alpha_alone", adapting(lambda alpha, a, b: alpha)),
        ("alpha_missing", adapting(lambda alpha, a, b: 1 / len(a))),
        ("upside_down", adapting(lambda alpha, a, b: len(a) / alpha)),
        ("by_root_of_rank", adapting(lambda alpha, a, b: alpha / len(a) ** 0.5)),
        ("by_inputs", adapting(lambda alpha, a, b: alpha / a.shape[-1])),
        ("by_outputs", adapting(lambda alpha, a, b: alpha / len(b))),
        ("base_missing", adapting(out=lambda x, w, a, b, s: s * (x @ a.T @ b.T))),
        ("base_missing", adapting(weight=lambda w, a, b, s: s * b @ a)),
        ("base_scaled", adapting(out=lambda x, w, a, b, s: s * (x @ w.T + x @ a.T @ b.T))),
        ("base_scaled", adapting(weight=lambda w, a, b, s: s * (w + b @ a))),
        ("subtracted", adapting(weight=lambda w, a, b, s: w - s * b @ a)),
        ("adapter_missing", adapting(out=lambda x, w, a, b, s: x @ w.T)),
        ("adapter_missing", adapting(weight=lambda w, a, b, s: w)),
        ("scale_missing", adapting(weight=lambda w, a, b, s: w + b @ a)),
        ("adapter_twice", adapter_merged_and_left_on),
        ("scaled_twice", adapting(out=lambda x, w, a, b, s: x @ w.T + s * (x @ (s * a).T @ b.T))),
        ("scaled_twice", adapting(weight=lambda w, a, b, s: w + s * (s * b @ a))),
        ("transposed", adapting(weight=lambda w, a, b, s: w.T + s * a.T @ b.T)),
        ("other_order", adapter_swapped),
        ("changed_input", adapter_in_place),
        ("raised", adapter_not_turned),
    ],
    "best_answer": [
        ("each_by_itself", answer_two_argmaxes),
        ("each_anywhere", answer_argmax_anywhere),
        ("outside_too", answering(lambda i, j, inside, longest: i <= j < i + longest)),
        ("backwards_too", answering(lambda i, j, inside, longest: inside[i] and inside[j] and j - i < longest)),
        ("any_length", answering(lambda i, j, inside, longest: inside[i] and inside[j] and i <= j)),
        ("one_too_long", answering(lambda i, j, inside, longest: inside[i] and inside[j] and i <= j <= i + longest)),
        (
            "one_too_short",
            answering(lambda i, j, inside, longest: inside[i] and inside[j] and i <= j and j - i + 1 < longest),
        ),
        (
            "one_token_never",
            answering(lambda i, j, inside, longest: inside[i] and inside[j] and i < j < i + longest),
        ),
        ("product", answering(score=lambda s, e: s * e)),
        ("chances_added", answering(before=lambda scores: scores.softmax(-1))),
        ("start_first", answer_start_then_end),
        ("end_first", answer_end_then_start),
        ("end_behind", answering(place=lambda i, j, inside: (i, j + 1))),
        (
            "counted_in_the_text",
            answering(place=lambda i, j, inside: (i - inside.tolist().index(True), j - inside.tolist().index(True))),
        ),
        ("always_answers", answering(none=lambda start, end, i, j, inside: False)),
        ("none_by_start", answering(none=lambda start, end, i, j, inside: start[0] > start[i])),
        ("none_by_end", answering(none=lambda start, end, i, j, inside: end[0] > end[j])),
        ("none_by_both", answering(none=lambda start, end, i, j, inside: start[0] > start[i] and end[0] > end[j])),
        (
            "none_by_best_parts",
            answering(none=lambda start, end, i, j, inside: start[0] + end[0] > max(start[inside]) + max(end[inside])),
        ),
        ("none_below_zero", answering(none=lambda start, end, i, j, inside: start[i] + end[j] < 0)),
        ("returned_none", answer_never),
        ("pair_of_zeros", answer_zeros),
        ("raised", answer_past_the_end),
    ],
    "answer_scores": [
        ("not_normalised", scoring(text=lambda text: text)),
        ("case_kept", scoring(text=text_by(without_marks, articles_in_any_case))),
        ("marks_kept", scoring(text=text_by(str.lower, without_articles))),
        ("marks_to_spaces", scoring(text=text_by(str.lower, marks_as_spaces, without_articles))),
        ("articles_kept", scoring(text=text_by(str.lower, without_marks, single_spaces))),
        ("articles_in_words", scoring(text=text_by(str.lower, without_marks, articles_replaced))),
        ("articles_before_case", scoring(text=text_by(without_marks, without_articles, str.lower))),
        ("articles_before_marks", scoring(text=text_by(str.lower, without_articles, without_marks, single_spaces))),
        (
            "articles_by_pattern_before_marks",
            scoring(text=text_by(str.lower, articles_to_nothing, without_marks, single_spaces)),
        ),
        ("spaces_kept", scoring(text=text_by(str.lower, without_marks, articles_to_nothing))),
        ("ends_stripped_only", scoring(text=text_by(str.lower, without_marks, articles_to_nothing, str.strip))),
        ("said_holds_answer", scoring(same=lambda said, right: right in said)),
        ("answer_holds_said", scoring(same=lambda said, right: said in right)),
        ("either_holds_other", scoring(same=lambda said, right: said in right or right in said)),
        ("other_order", lambda said, answers: scoring()(said, answers)[::-1]),
        ("exact_again", scoring(f1=lambda said, right: float(said == right))),
        ("f1_not_normalised", scoring(words=lambda text: text.split())),
        (
            "as_sets",
            scoring(f1=lambda said, right: harmonic(len({*said} & {*right}), {*said}, {*right})),
        ),
        ("common_as_set", scoring(f1=lambda said, right: harmonic(len({*said} & {*right}), said, right))),
        ("counted_twice", scoring(f1=lambda said, right: harmonic(sum(w in right for w in said), said, right))),
        (
            "by_place",
            scoring(f1=lambda said, right: harmonic(sum(map(str.__eq__, said, right)), said, right)),
        ),
        ("characters", scoring(words=normalised_answer)),
        ("precision", scoring(f1=lambda said, right: part(common_words(said, right), said))),
        ("recall", scoring(f1=lambda said, right: part(common_words(said, right), right))),
        (
            "plain_mean",
            scoring(
                f1=lambda said, right: mean_of([part(common_words(said, right), words) for words in (said, right)])
            ),
        ),
        ("two_missing", scoring(f1=lambda said, right: harmonic(common_words(said, right), said, right) / 2)),
        (
            "share_of_all",
            scoring(f1=lambda s, r: common_words(s, r) / (len(s) + len(r) - common_words(s, r)) if s or r else 0.0),
        ),
        ("points", scoring(f1=lambda said, right: 100 * harmonic(common_words(said, right), said, right))),
        ("raised", scores_dividing_by_zero),
        ("first_alone", lambda said, answers: scoring()(said, answers[:1])),
        ("last_alone", lambda said, answers: scoring()(said, answers[-1:])),
        ("mean_of_answers", scoring(of_exact=mean_of, of_f1=mean_of)),
        ("worst_answer", scoring(of_exact=min, of_f1=min)),
        ("added", scoring(of_exact=sum, of_f1=sum)),
        ("all_together", scores_joined),
        ("f1_of_the_first", scoring(of_f1=lambda scores: scores[0])),
        ("f1_mean", scoring(of_f1=mean_of)),
    ],
    "gain_interval": [
        ("old_minus_new", gaining(of=lambda new, old: old - new)),
        ("of_new_alone", gaining(of=lambda new, old: new)),
        ("high_and_low", gaining(ends=lambda gains: np.quantile(gains, [0.975, 0.025]))),
        ("two_intervals", gain_two_intervals),
        ("ends_apart", gain_ends_apart),
        ("sorted_apart", gaining(of=lambda new, old: np.sort(new) - np.sort(old))),
        ("every_with_every", gaining(of=lambda new, old: np.subtract.outer(new, old).ravel())),
        ("mean_of_sentences", gain_of_sentences),
        ("mean_of_sentences", gain_of_means_of_sentences),
        ("repeats_lost", gain_masked),
        ("repeats_lost", gain_sets),
        ("all_draws", gaining(ends=lambda gains: (gains.min(), gains.max()))),
        ("ninety", gaining(ends=lambda gains: np.quantile(gains, [0.05, 0.95]))),
        ("by_deviation", gaining(ends=around(lambda gains: gains.std(ddof=1)))),
        ("by_error_of_mean", gaining(ends=around(lambda gains: gains.std(ddof=1) / math.sqrt(len(gains))))),
        ("shares", gaining(lambda counts: points(counts) / 100)),
        ("two_missing", gaining(lambda counts: points(counts) / 2)),
        ("precision", gaining(lambda counts: 100 * counts[0] / counts[1])),
        ("recall", gaining(lambda counts: 100 * counts[0] / counts[2])),
        ("plain_mean", gaining(plain_mean_of_both)),
        ("wrong_length", gaining(ends=lambda gains: [gains.mean()])),
    ],
}
