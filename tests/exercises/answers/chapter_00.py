"""Answers to the exercises of chapter 00, right and wrong, as learners write them."""

import bisect
import itertools
import math
import random
import statistics
from collections import Counter, defaultdict

import numpy as np
import torch

from course_lib.models.ngram import END

# --- log_probability -------------------------------------------------------------------------------------------------


def log_probability_loop(tokens, step):
    total = 0.0
    for i in range(len(tokens)):
        total += math.log(step(tokens[i], tokens[:i]))
    return total + math.log(step(END, tokens))


def log_probability_numpy(tokens, step):
    words = [*tokens, END]
    return np.log([step(w, words[:i]) for i, w in enumerate(words)]).sum()


def log_probability_torch(tokens, step):
    words = tokens + [END]  # noqa: RUF005
    return torch.log(torch.tensor([step(words[i], words[:i]) for i in range(len(words))])).sum()


def log_probability_from_the_end(tokens, step):
    last = math.log(step(END, tokens))
    while tokens:
        tokens, word = tokens[:-1], tokens[-1]
        last += math.log(step(word, tokens))
    return last


def log_probability_growing_list(tokens, step):
    so_far: list[str] = []
    logs = []
    for word in itertools.chain(tokens, [END]):
        logs.append(math.log(step(word, so_far)))
        so_far.append(word)
    return math.fsum(logs)


def without_end(tokens, step):
    total = 0.0
    for i, word in enumerate(tokens):
        total += math.log(step(word, tokens[:i]))
    return total


def plain_product(tokens, step):
    p = 1
    for i, word in enumerate([*tokens, END]):
        p *= step(word, tokens[:i])
    return p


def log_of_product(tokens, step):
    p = 1
    for i, word in enumerate([*tokens, END]):
        p *= step(word, tokens[:i])
    return math.log(p)


def log_of_numpy_product(tokens, step):
    with np.errstate(divide="ignore"):
        return np.log(np.prod([step(word, tokens[:i]) for i, word in enumerate([*tokens, END])]))


def adds_probabilities(tokens, step):
    total = 0
    for i, word in enumerate([*tokens, END]):
        total += step(word, tokens[:i])
    return total


def adds_then_log(tokens, step):
    return math.log(adds_probabilities(tokens, step))


def multiplies_logs(tokens, step):
    result = 1.0
    for i, word in enumerate([*tokens, END]):
        result *= math.log(step(word, tokens[:i]))
    return result


def in_bits(tokens, step):
    return sum(math.log(step(word, tokens[:i]), 2) for i, word in enumerate([*tokens, END]))


def with_log10(tokens, step):
    return sum(np.log10(step(word, tokens[:i])) for i, word in enumerate([*tokens, END]))


def surprise(tokens, step):
    total = 0.0
    for i, word in enumerate([*tokens, END]):
        total -= math.log(step(word, tokens[:i]))
    return total


def divided_by_length(tokens, step):
    return log_probability_loop(tokens, step) / (len(tokens) + 1)


def the_loss(tokens, step):
    return surprise(tokens, step) / (len(tokens) + 1)


def slice_one_too_long(tokens, step):
    words = [*tokens, END]
    return sum(math.log(step(words[i], words[: i + 1])) for i in range(len(words)))


def bigram_context(tokens, step):
    words = [*tokens, END]
    total = math.log(step(words[0], []))
    for before, word in itertools.pairwise(words):
        total += math.log(step(word, [before]))
    return total


def empty_context(tokens, step):
    return sum(math.log(step(word, [])) for word in [*tokens, END])


def begin_in_context(tokens, step):
    so_far, total = ["<begin>"], 0.0
    for word in [*tokens, END]:
        total += math.log(step(word, so_far))
        so_far = [*so_far, word]
    return total


def end_from_nothing(tokens, step):
    return without_end(tokens, step) + math.log(step(END, []))


def end_one_early(tokens, step):
    return without_end(tokens, step) + math.log(step(END, tokens[:-1]))


def looks_words_up(tokens, step):
    return sum(math.log(step(word, tokens[: tokens.index(word)])) for word in tokens) + math.log(step(END, tokens))


def newest_first(tokens, step):
    so_far: list[str] = []
    total = 0.0
    for word in [*tokens, END]:
        total += math.log(step(word, so_far))
        so_far.insert(0, word)
    return total


def string_context(tokens, step):
    return sum(math.log(step(word, " ".join(tokens[:i]))) for i, word in enumerate([*tokens, END]))


def appends_to_its_input(tokens, step):
    tokens.append(END)
    return sum(math.log(step(word, tokens[:i])) for i, word in enumerate(tokens))


# --- perplexity_of ---------------------------------------------------------------------------------------------------


def perplexity_loop(losses):
    total, count = 0.0, 0
    for text in losses:
        for loss in text:
            total += loss
            count += 1
    return math.exp(total / count)


def perplexity_numpy(losses):
    return np.exp(np.concatenate(losses).mean())


def perplexity_torch(losses):
    return torch.cat([torch.tensor(text) for text in losses]).mean().exp()


def perplexity_geometric(losses):
    return 1 / statistics.geometric_mean(math.exp(-loss) for text in losses for loss in text)


def perplexity_weighted(losses):
    weights = [len(text) for text in losses]
    return math.exp(np.average([np.mean(text) for text in losses], weights=weights))


def texts_count_alike(losses):
    means = [sum(text) / len(text) for text in losses]
    return math.exp(sum(means) / len(means))


def perplexity_of_each_text(losses):
    perplexities = [math.exp(sum(text) / len(text)) for text in losses]
    return sum(perplexities) / len(perplexities)


def list_of_them(losses):
    return [math.exp(sum(text) / len(text)) for text in losses]


def divided_by_texts(losses):
    return math.exp(sum(map(sum, losses)) / len(losses))


def not_divided(losses):
    return math.exp(sum(map(sum, losses)))


def exp_inside(losses):
    powers = [math.exp(loss) for text in losses for loss in text]
    return sum(powers) / len(powers)


def power_of_two(losses):
    flat = [loss for text in losses for loss in text]
    return 2 ** (sum(flat) / len(flat))


def no_exp(losses):
    return np.mean(np.concatenate(losses))


def minus_too_many(losses):
    return np.exp(-np.mean(np.concatenate(losses)))


def returns_in_the_loop(losses):
    for text in losses:
        mean = sum(text) / len(text)
        return math.exp(mean)
    return None


def reset_in_the_loop(losses):
    for text in losses:
        total, count = 0, 0
        for loss in text:
            total += loss
            count += 1
    return math.exp(total / count)


# --- redraw ----------------------------------------------------------------------------------------------------------


def redraw_loop(distribution, temperature):
    largest = max(distribution.values())
    result, total = {}, 0.0
    for word in distribution:
        result[word] = (distribution[word] / largest) ** (1 / temperature)
        total += result[word]
    for word in result:
        result[word] /= total
    return result


def redraw_softmax(distribution, temperature):
    logits = torch.tensor(list(distribution.values()), dtype=torch.float64).log() / temperature
    return dict(zip(distribution, logits.softmax(0).tolist(), strict=True))


def redraw_float32(distribution, temperature):
    p = torch.softmax(torch.log(torch.tensor(list(distribution.values()))) / temperature, dim=-1)
    return {word: p[i] for i, word in enumerate(distribution)}


def redraw_logs(distribution, temperature):
    logs = {w: math.log(p) / temperature if p > 0 else -math.inf for w, p in distribution.items()}
    highest = max(logs.values())
    powers = {w: math.exp(log - highest) for w, log in logs.items()}
    return {w: power / sum(powers.values()) for w, power in powers.items()}


def redraw_numpy_sorted(distribution, temperature):
    words = sorted(distribution)
    p = np.array([distribution[word] for word in words])
    powers = np.power(p / p.max(), 1 / temperature)
    return dict(zip(words, powers / powers.sum(), strict=True))


def forgets_to_scale(distribution, temperature):
    return {word: p ** (1 / temperature) for word, p in distribution.items()}


def to_the_t(distribution, temperature):
    powers = {word: p**temperature for word, p in distribution.items()}
    total = sum(powers.values())
    return {word: power / total for word, power in powers.items()}


def to_the_t_only(distribution, temperature):
    result = {}
    for word in distribution:
        result[word] = distribution[word] ** temperature
    return result


def log_times_t(distribution, temperature):
    weights = {word: math.exp(temperature * math.log(p)) for word, p in distribution.items()}
    return {word: weight / sum(weights.values()) for word, weight in weights.items()}


def divides_and_scales(distribution, temperature):
    divided = {word: p / temperature for word, p in distribution.items()}
    total = sum(divided.values())
    return {word: p / total for word, p in divided.items()}


def only_divides(distribution, temperature):
    return {word: p / temperature for word, p in distribution.items()}


def only_multiplies(distribution, temperature):
    return {word: p * temperature for word, p in distribution.items()}


def softmax_without_log(distribution, temperature):
    scores = torch.tensor(list(distribution.values()), dtype=torch.float64) / temperature
    return dict(zip(distribution, scores.softmax(0).tolist(), strict=True))


def logs_without_exp(distribution, temperature):
    logs = {word: math.log(p) / temperature for word, p in distribution.items()}
    total = sum(logs.values())
    return {word: log / total for word, log in logs.items()}


def greedy(distribution, temperature):
    best = max(distribution, key=distribution.get)
    return {word: 1.0 if word == best else 0.0 for word in distribution}


def scaled_by_the_largest(distribution, temperature):
    powers = {word: p ** (1 / temperature) for word, p in distribution.items()}
    return {word: power / max(powers.values()) for word, power in powers.items()}


def zeroth_power(distribution, temperature):
    powers = {word: p ** (temperature // 10) for word, p in distribution.items()}
    return {word: power / sum(powers.values()) for word, power in powers.items()}


def log_of_everything(distribution, temperature):
    logs = {word: math.log(p) / temperature for word, p in distribution.items()}
    highest = max(logs.values())
    total = sum(math.exp(log - highest) for log in logs.values())
    return {word: math.exp(log - highest) / total for word, log in logs.items()}


def leaves_out_zeros(distribution, temperature):
    return redraw_loop({word: p for word, p in distribution.items() if p > 0}, temperature)


def adds_epsilon(distribution, temperature):
    return redraw_loop({word: p + 1e-6 for word, p in distribution.items()}, temperature)


def in_place(distribution, temperature):
    for word in distribution:
        distribution[word] **= 1 / temperature
    total = sum(distribution.values())
    for word in distribution:
        distribution[word] /= total
    return distribution


def plain_power(distribution, temperature):
    powers = {word: p ** (1 / temperature) for word, p in distribution.items()}
    total = sum(powers.values())
    return {word: power / total for word, power in powers.items()}


def numpy_power(distribution, temperature):
    powers = np.array(list(distribution.values())) ** (1 / temperature)
    with np.errstate(invalid="ignore"):
        return dict(zip(distribution, powers / powers.sum(), strict=True))


def greedy_when_cold(distribution, temperature):
    return greedy(distribution, temperature) if temperature < 0.01 else plain_power(distribution, temperature)


# --- repaired_table --------------------------------------------------------------------------------------------------


def counted(texts):
    """Texts with both marks, and their words with the end."""
    framed = [["<begin>", *text, END] for text in texts]
    return framed, Counter(word for text in framed for word in text[1:])


def filled_in(pairs, contexts, words, alpha):
    n, size = sum(words.values()), len(words)
    return {
        h: {w: (pairs[h, w] + alpha * (words[w] + alpha / size) / (n + alpha)) / (contexts[h] + alpha) for w in words}
        for h in contexts
    }


def table_without_the_last(texts, alpha=0.5):
    framed, words = counted(texts)
    pairs = Counter(pair for text in framed for pair in itertools.pairwise(text))
    return filled_in(pairs, Counter(word for text in framed for word in text[:-1]), words, alpha)


def table_counts_from_pairs(texts, alpha=0.5):
    framed, words = counted(texts)
    pairs: Counter[tuple[str, str]] = Counter()
    contexts: Counter[str] = Counter()
    for text in framed:
        for i in range(1, len(text)):
            pairs[text[i - 1], text[i]] += 1
            contexts[text[i - 1]] += 1
    return filled_in(pairs, contexts, words, alpha)


def table_scaled_at_the_end(texts, alpha=0.5):
    framed, words = counted(texts)
    followers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in framed:
        for before, word in itertools.pairwise(text):
            followers[before][word] += 1
    n, size, table = words.total(), len(words), {}
    for before, counts in followers.items():
        row = {w: counts[w] + alpha * (words[w] + alpha / size) / (n + alpha) for w in words}
        table[before] = {w: value / sum(row.values()) for w, value in row.items()}
    return table


def table_numpy(texts, alpha=0.5):
    framed, words = counted(texts)
    columns = list(words)
    rows = ["<begin>", *(word for word in columns if word != END)]
    c = np.zeros((len(rows), len(columns)))
    for text in framed:
        for before, word in itertools.pairwise(text):
            c[rows.index(before), columns.index(word)] += 1
    p = (np.array(list(words.values())) + alpha / len(columns)) / (words.total() + alpha)
    p = (c + alpha * p) / (c.sum(axis=1, keepdims=True) + alpha)
    return {before: dict(zip(columns, p[i], strict=True)) for i, before in enumerate(rows)}


def with_contexts(start, stop, pairs_until=None):
    def table(texts, alpha=0.5):
        framed, words = counted(texts)
        pairs = Counter(pair for text in framed for pair in itertools.pairwise(text[:pairs_until]))
        return filled_in(pairs, Counter(word for text in framed for word in text[start:stop]), words, alpha)

    return table


def forgets_the_end(texts, alpha=0.5):
    pairs: Counter[tuple[str, str]] = Counter()
    contexts, words = Counter[str](), Counter[str]()
    for text in texts:
        tokens = ["<begin>", *text]
        pairs.update(itertools.pairwise(tokens))
        contexts.update(tokens[:-1])
        words.update(text)
    return filled_in(pairs, contexts, words, alpha)


def begin_is_a_word(texts, alpha=0.5):
    framed, _ = counted(texts)
    words = Counter(word for text in framed for word in text)
    pairs = Counter(pair for text in framed for pair in itertools.pairwise(text))
    return filled_in(pairs, Counter(word for text in framed for word in text[:-1]), words, alpha)


def shares_only(texts, alpha=0.5):
    framed, words = counted(texts)
    followers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in framed:
        for before, word in itertools.pairwise(text):
            followers[before][word] += 1
    return {before: {w: counts[w] / counts.total() for w in words} for before, counts in followers.items()}


# --- distribution_test -----------------------------------------------------------------------------------------------

WORDS = {"Rose", "found", "a", "kite", ".", "rose", "Tom", "smiled", END}


def thorough(next_distribution):
    for so_far in ([], ["Rose"], ["Tom", "found"], ["piano"], ["kite", "Tom", "piano"]):
        distribution = next_distribution(so_far)
        assert set(distribution) == WORDS
        assert all(p > 0 for p in distribution.values())
        assert math.isclose(sum(distribution.values()), 1)
    assert next_distribution(["Rose", "found"])["a"] > next_distribution(["found", "Rose"])["a"]


def returns_a_verdict(next_distribution):
    contexts = [[], *([a, b] for a in ["found", "Tom", "?"] for b in ["found", "Tom", "?"])]
    rows = [next_distribution(context) for context in contexts]
    if any(END not in row or min(row.values()) <= 0 for row in rows):
        return False
    last_counts = next_distribution(["found", "Tom"])["smiled"] > next_distribution(["Tom", "found"])["smiled"]
    return last_counts and np.allclose([sum(row.values()) for row in rows], 1)


def with_numpy(next_distribution):
    for so_far in [[], [END], ["a"], ["a", "kite"], ["Tom", "smiled"], ["never", "seen"]]:
        p = np.array([next_distribution(so_far)[word] for word in WORDS])
        assert p.min() > 0
        np.testing.assert_allclose(p.sum(), 1)
    p, q = next_distribution(["Tom", "kite"]), next_distribution(["Tom", "a"])
    assert max(abs(p[word] - q[word]) for word in WORDS) > 1e-3


CONTEXTS = [[], ["found"], ["Tom", "found"], ["found", "Tom"], ["piano"]]


def parts(sums=True, positive=True, keys=True, last=True, contexts=CONTEXTS):
    def test(next_distribution):
        for so_far in contexts:
            distribution = next_distribution(so_far)
            if keys:
                assert distribution.keys() == WORDS
            if positive:
                assert min(distribution.values()) > 0
            if sums:
                assert abs(sum(distribution.values()) - 1) < 1e-9
        if last:
            assert next_distribution(["a", "found"]) != next_distribution(["a", "kite"])

    return test


def exact_sum(next_distribution):
    for so_far in CONTEXTS:
        assert sum(next_distribution(so_far).values()) == 1


def allows_zero(next_distribution):
    parts(positive=False)(next_distribution)
    assert all(0 <= p <= 1 for so_far in CONTEXTS for p in next_distribution(so_far).values())


def wants_a_sure_word(next_distribution):
    parts()(next_distribution)
    assert next_distribution(["found"])["a"] > 0.5


def wants_a_bigram(next_distribution):
    parts()(next_distribution)
    assert next_distribution(["found"]) == next_distribution(["Rose", "found"])


def wants_two_words(next_distribution):
    parts()(next_distribution)
    assert next_distribution(["Tom", "found"]) != next_distribution(["Rose", "found"])


def compares_by_one_word_only(next_distribution):
    parts(last=False)(next_distribution)
    assert next_distribution(["found"]) != next_distribution(["kite"])


def asserts_a_tuple(next_distribution):
    total = sum(next_distribution(["found"]).values())
    return (total == 1, "must add up to 1")


def wants_the_impossible(next_distribution):
    assert next_distribution(["found"])["a"] == 0.5


# --- nats_above_floor ------------------------------------------------------------------------------------------------


def above_floor_two_losses(truth, model):
    loss = floor = 0.0
    for word, p in truth.items():
        if p == 0:
            continue
        if model[word] == 0:
            return math.inf
        loss -= p * math.log(model[word])
        floor -= p * math.log(p)
    return loss - floor


def above_floor_one_sum(truth, model):
    terms = (p * (math.log(p / model[word]) if model[word] else float("inf")) for word, p in truth.items() if p > 0)
    return sum(terms)


def above_floor_torch(truth, model):
    happens = [word for word in truth if truth[word] > 0]
    p, q = (torch.tensor([d[word] for word in happens], dtype=torch.float64) for d in (truth, model))
    return torch.nn.functional.kl_div(q.log(), p, reduction="sum")


def above_floor_numpy(truth, model):
    p, q = (np.array([d[word] for word in sorted(truth)]) for d in (truth, model))
    seen = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[seen] * (np.log(p[seen]) - np.log(q[seen]))))


def loss_alone(truth, model):
    return sum(-p * (math.log(model[w]) if model[w] else -math.inf) for w, p in truth.items() if p)


def entropy(distribution):
    return -sum(p * math.log(p) for p in distribution.values() if p)


def loss_plus_floor(truth, model):
    return loss_alone(truth, model) + entropy(truth)


def entropy_of_truth(truth, model):
    return entropy(truth)


def floor_minus_loss(truth, model):
    return entropy(truth) - loss_alone(truth, model)


def the_other_way_round(truth, model):
    return sum(q * math.log(q / truth[w]) for w, q in model.items())


def entropy_minus_entropy(truth, model):
    return entropy(model) - entropy(truth)


def zipped(truth, model):
    return sum(p * math.log(p / q) for p, q in zip(truth.values(), model.values(), strict=True))


def plain_sum(truth, model):
    return sum(math.log(truth[w]) - math.log(model[w]) for w in truth)


def plain_mean(truth, model):
    return np.mean([np.log(truth[w] / model[w]) for w in truth])


def with_log2(truth, model):
    return sum(p * math.log2(p / model[w]) for w, p in truth.items())


def absolute_differences(truth, model):
    total = 0
    for word in truth:
        total += abs(truth[word] - model[word])
    return total


def ratio_of_perplexities(truth, model):
    return math.exp(loss_alone(truth, model)) / math.exp(entropy(truth))


def no_guard(truth, model):
    loss = -sum(p * math.log(model[w]) for w, p in truth.items())
    return loss + sum(p * math.log(p) for p in truth.values())


def no_guard_numpy(truth, model):
    p, q = (np.array([d[w] for w in truth]) for d in (truth, model))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (p * np.log(p / q)).sum()


def guards_truth_only(truth, model):
    return sum(p * math.log(p / model[w]) for w, p in truth.items() if p > 0)


def skips_both(truth, model):
    return sum(p * math.log(p / model[w]) for w, p in truth.items() if p > 0 and model[w] > 0)


def with_epsilon(truth, model):
    return sum(p * math.log(p / (model[w] + 1e-12)) for w, p in truth.items() if p > 0)


# --- draw ------------------------------------------------------------------------------------------------------------


def draw_running_total(distribution, u):
    total = 0.0
    for word, p in distribution.items():
        total += p
        if u < total:
            return word
    return word


def draw_by_subtracting(distribution, u):
    for word in distribution:
        u -= distribution[word]
        if u < 0:
            break
    return word


def draw_bisect(distribution, u):
    ends = list(itertools.accumulate(distribution.values()))
    return list(distribution)[min(bisect.bisect_right(ends, u), len(ends) - 1)]


def draw_numpy(distribution, u):
    ends = np.cumsum(list(distribution.values()))
    ends[-1] = 1.0
    return list(distribution)[np.searchsorted(ends, u, side="right")]


def draw_scaled(distribution, u):
    ends = list(itertools.accumulate(distribution.values()))
    return next(word for word, end in zip(distribution, ends, strict=True) if u * ends[-1] < end)


def takes_the_favourite(distribution, u):
    return max(distribution.items(), key=lambda pair: pair[1])[0]


def compares_each_alone(distribution, u):
    for word, p in distribution.items():
        if p > u:
            return word
    return list(distribution)[-1]


def compares_each_alone_no_fallback(distribution, u):
    for word, p in distribution.items():
        if u < p:
            return word
    return None


def adds_too_late(distribution, u):
    total = 0
    for word, p in distribution.items():
        if total > u:
            return word
        total += p
    return word


def index_minus_one(distribution, u):
    ends = np.cumsum(list(distribution.values()))
    return list(distribution)[np.searchsorted(ends, u) - 1]


def likeliest_first(distribution, u):
    return draw_running_total(dict(sorted(distribution.items(), key=lambda item: item[1], reverse=True)), u)


def least_likely_first(distribution, u):
    return draw_running_total(dict(sorted(distribution.items(), key=lambda item: item[1])), u)


def by_the_alphabet(distribution, u):
    return draw_running_total({word: distribution[word] for word in sorted(distribution)}, u)


def last_first(distribution, u):
    return draw_running_total(dict(reversed(distribution.items())), u)


def all_equally_likely(distribution, u):
    words = list(distribution)
    return words[math.floor(len(words) * u)]


def nearest_probability(distribution, u):
    best = None
    for word, p in distribution.items():
        if best is None or abs(p - u) < abs(distribution[best] - u):
            best = word
    return best


def new_random_number(distribution, u):
    return random.choices(list(distribution), weights=list(distribution.values()), k=1)[0]


def compares_with_zero(distribution, u):
    total = 0.0
    for word, p in distribution.items():
        total += p
        if total > 0:
            return word
    return None


def at_most(distribution, u):
    total = 0.0
    for word, p in distribution.items():
        total += p
        if total >= u:
            return word
    return word


def left_side(distribution, u):
    ends = list(itertools.accumulate(distribution.values()))
    return list(distribution)[min(bisect.bisect_left(ends, u), len(ends) - 1)]


def no_last_word(distribution, u):
    total = 0.0
    for word, p in distribution.items():
        total += p
        if u < total:
            return word
    return None


def favourite_at_the_end(distribution, u):
    return no_last_word(distribution, u) or takes_the_favourite(distribution, u)


def index_too_large(distribution, u):
    return list(distribution)[bisect.bisect(list(itertools.accumulate(distribution.values())), u)]


def next_without_default(distribution, u):
    ends = itertools.accumulate(distribution.values())
    return next(word for word, end in zip(distribution, ends, strict=True) if u < end)


def returns_the_index(distribution, u):
    return bisect.bisect(list(itertools.accumulate(distribution.values())), u)


RIGHT = {
    "log_probability": [
        ("loop", log_probability_loop),
        ("numpy", log_probability_numpy),
        ("torch, float32", log_probability_torch),
        ("from the end", log_probability_from_the_end),
        ("growing list", log_probability_growing_list),
    ],
    "perplexity_of": [
        ("loop", perplexity_loop),
        ("numpy", perplexity_numpy),
        ("torch, float32", perplexity_torch),
        ("geometric mean", perplexity_geometric),
        ("weighted mean of means", perplexity_weighted),
    ],
    "redraw": [
        ("loop", redraw_loop),
        ("softmax", redraw_softmax),
        ("float32 tensors as values", redraw_float32),
        ("logs", redraw_logs),
        ("numpy, sorted", redraw_numpy_sorted),
    ],
    "repaired_table": [
        ("without the last", table_without_the_last),
        ("counted with the pairs", table_counts_from_pairs),
        ("each row scaled", table_scaled_at_the_end),
        ("numpy", table_numpy),
    ],
    "distribution_test": [
        ("asserts", thorough),
        ("returns a truth value", returns_a_verdict),
        ("numpy", with_numpy),
        ("helper", parts()),
    ],
    "nats_above_floor": [
        ("two losses", above_floor_two_losses),
        ("one sum", above_floor_one_sum),
        ("kl_div", above_floor_torch),
        ("numpy, sorted", above_floor_numpy),
    ],
    "draw": [
        ("running total", draw_running_total),
        ("subtracting", draw_by_subtracting),
        ("bisect", draw_bisect),
        ("searchsorted", draw_numpy),
        ("u scaled", draw_scaled),
    ],
}

WRONG = {
    "log_probability": [
        ("end_forgotten", without_end),
        ("probability", plain_product),
        ("underflows", log_of_product),
        ("underflows", log_of_numpy_product),
        ("probabilities_added", adds_probabilities),
        ("log_of_the_sum", adds_then_log),
        ("logs_multiplied", multiplies_logs),
        ("base_two", in_bits),
        ("base_ten", with_log10),
        ("sign", surprise),
        ("mean", divided_by_length),
        ("mean_surprise", the_loss),
        ("sees_the_word", slice_one_too_long),
        ("last_word_only", bigram_context),
        ("no_context", empty_context),
        ("begin_added", begin_in_context),
        ("end_without_context", end_from_nothing),
        ("end_too_early", end_one_early),
        ("first_occurrence", looks_words_up),
        ("context_reversed", newest_first),
        ("raised", string_context),
        ("changed_input", appends_to_its_input),
    ],
    "perplexity_of": [
        ("mean_over_texts", texts_count_alike),
        ("mean_of_perplexities", perplexity_of_each_text),
        ("list_of_perplexities", list_of_them),
        ("per_text", divided_by_texts),
        ("sum", not_divided),
        ("mean_of_powers", exp_inside),
        ("base_two", power_of_two),
        ("loss_itself", no_exp),
        ("sign", minus_too_many),
        ("first_text_only", returns_in_the_loop),
        ("last_text_only", reset_in_the_loop),
    ],
    "redraw": [
        ("not_scaled", forgets_to_scale),
        ("temperature_inverted", to_the_t),
        ("temperature_inverted", log_times_t),
        ("inverted_and_not_scaled", to_the_t_only),
        ("unchanged", divides_and_scales),
        ("divided_by_t", only_divides),
        ("multiplied_by_t", only_multiplies),
        ("softmax_of_p", softmax_without_log),
        ("logs_scaled", logs_without_exp),
        ("favourite_only", greedy),
        ("largest_is_one", scaled_by_the_largest),
        ("all_alike", zeroth_power),
        ("changed_input", in_place),
        ("log_of_zero", log_of_everything),
        ("impossible_words_dropped", leaves_out_zeros),
        ("zero_comes_alive", adds_epsilon),
        ("underflows", plain_power),
        ("underflows", numpy_power),
        ("runner_up_lost", greedy_when_cold),
    ],
    "repaired_table": [
        ("still_there", with_contexts(0, -2)),
        ("end_as_context", with_contexts(0, None)),
        ("begin_lost", with_contexts(1, -1)),
        ("contexts_shifted", with_contexts(1, None)),
        ("end_not_a_pair", with_contexts(0, -2, pairs_until=-1)),
        ("end_unknown", forgets_the_end),
        ("begin_as_word", begin_is_a_word),
        ("nothing_borrowed", shares_only),
    ],
    "distribution_test": [
        ("asserts_nothing", asserts_a_tuple),
        ("refuses_everything", wants_the_impossible),
        ("refuses_rounded", exact_sum),
        ("refuses_adds_one", wants_a_sure_word),
        ("refuses_two_words", wants_a_bigram),
        ("refuses_one_word", wants_two_words),
        ("misses_too_much", parts(sums=False)),
        ("misses_negatives", parts(positive=False)),
        ("misses_zeros", allows_zero),
        ("misses_no_end", parts(keys=False)),
        ("misses_no_context", parts(last=False)),
        ("misses_first_word", compares_by_one_word_only),
        ("misses_empty", parts(contexts=CONTEXTS[1:])),
        ("misses_unseen", parts(contexts=CONTEXTS[:-1])),
    ],
    "nats_above_floor": [
        ("floor_kept", loss_alone),
        ("floor_added", loss_plus_floor),
        ("floor_only", entropy_of_truth),
        ("sign", floor_minus_loss),
        ("swapped", the_other_way_round),
        ("two_floors", entropy_minus_entropy),
        ("by_position", zipped),
        ("not_weighted", plain_sum),
        ("all_words_alike", plain_mean),
        ("base_two", with_log2),
        ("no_logarithm", absolute_differences),
        ("perplexity", ratio_of_perplexities),
        ("log_of_zero", no_guard),
        ("log_of_zero", no_guard_numpy),
        ("log_of_impossible", guards_truth_only),
        ("impossible_is_free", skips_both),
        ("impossible_is_cheap", with_epsilon),
    ],
    "draw": [
        ("likeliest", takes_the_favourite),
        ("not_added_up", compares_each_alone),
        ("not_added_up", compares_each_alone_no_fallback),
        ("one_too_late", adds_too_late),
        ("one_too_early", index_minus_one),
        ("sorted_first", likeliest_first),
        ("sorted_upwards", least_likely_first),
        ("alphabetical", by_the_alphabet),
        ("from_the_end", last_first),
        ("all_alike", all_equally_likely),
        ("closest", nearest_probability),
        ("u_ignored", new_random_number),
        ("first_word", compares_with_zero),
        ("border_of_the_word_before", at_most),
        ("border_of_the_word_before", left_side),
        ("falls_off_the_end", no_last_word),
        ("far_from_the_end", favourite_at_the_end),
        ("falls_off_the_end", index_too_large),
        ("falls_off_the_end", next_without_default),
        ("wrong_kind", returns_the_index),
    ],
}
