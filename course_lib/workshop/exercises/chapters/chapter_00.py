"""The exercises of chapter 00: probabilities of texts, perplexity, temperature, counting, drawing."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any

from course_lib.models.ngram import BEGIN, END, NGramModel
from course_lib.workshop.exercises.steps import Answer, Catches, Exercise, Gives, Wrong, difference

Distribution = dict[str, float]
Table = dict[str, Distribution]


def _beside(
    answer: Answer, reference: Callable[..., Any], *case: Any, tolerance: float | None = None
) -> tuple[Any, Wrong | None]:
    """What the learner's function gives for an extreme case, and how it differs from the reference.

    Where it gives out (an error of arithmetic or of a search, None, nan, inf), the difference is called "not_finite".
    Only for laws behind a step with ordinary numbers, so that such an error can have no other cause.
    """
    answer.inputs = case
    want = reference(*case)
    try:
        got = answer(*case)
    except (ArithmeticError, LookupError, StopIteration, ValueError) as error:
        return None, Wrong("not_finite", got=type(error).__name__, place="")
    wrong = difference(got, want, tolerance)
    if wrong and (got is None or got != got):
        wrong = Wrong("not_finite", got=got, place="")
    return got, wrong


# --- log_probability -------------------------------------------------------------------------------------------------

_WORDS = ("Rose", "found", "a", "kite", ".", END)


def _step(word: str, so_far: Sequence[str]) -> float:
    """P(word | so_far) in a small language in which every word so far matters and none of ``_WORDS`` is impossible."""
    if isinstance(so_far, str):
        raise TypeError(f"so_far must be a list of words, not one string ({so_far[:20]!r})")
    if word not in _WORDS:
        raise ValueError(f"word is {word!r}: this language has only the words {', '.join(_WORDS)}")
    past = sum(place * sum(map(ord, str(w))) for place, w in enumerate(so_far, start=2))
    weights = {w: 1 + (7 * i * i + past * (i + 1)) % 11 for i, w in enumerate(_WORDS)}
    return weights[word] / sum(weights.values())


def _steps(tokens: list[str], step: Callable[..., float], end: bool = True) -> list[float]:
    whole = [*tokens, END] if end else tokens
    return [step(word, whole[:i]) for i, word in enumerate(whole)]


def _log_probability(tokens: list[str], step: Callable[..., float]) -> float:
    return sum(map(math.log, _steps(tokens, step)))


def _with_contexts(context: Callable[[list[str], int], list[str]]) -> Callable[..., float]:
    """A mistake: at place ``i`` of the text and its end, the step is given another context."""

    def wrong(tokens: list[str], step: Callable[..., float]) -> float:
        whole = [*tokens, END]
        return sum(math.log(step(word, context(whole, i))) for i, word in enumerate(whole))

    return wrong


def _short_texts() -> Iterator[tuple[list[str], Callable[..., float]]]:
    for text in ("Rose found a kite .", "a kite found Rose . a kite .", "found", ""):
        yield text.split(), _step


def long_text(answer: Answer) -> None:
    """The product of 500 probabilities is 0 for a computer."""
    _, wrong = _beside(answer, _log_probability, random.Random(3).choices(_WORDS[:-1], k=500), _step)
    if wrong:
        raise Wrong("underflows") if wrong.name == "not_finite" else wrong


LOG_PROBABILITY = Exercise(
    "log_probability",
    minutes=8,
    difficulty=1,
    section="2",
    steps=[
        Gives(
            "values",
            reference=_log_probability,
            cases=_short_texts,
            mistakes={
                "end_forgotten": lambda tokens, step: sum(map(math.log, _steps(tokens, step, end=False))),
                "probability": lambda tokens, step: math.prod(_steps(tokens, step)),
                "logs_multiplied": lambda tokens, step: math.prod(map(math.log, _steps(tokens, step))),
                "probabilities_added": lambda tokens, step: sum(_steps(tokens, step)),
                "log_of_the_sum": lambda tokens, step: math.log(sum(_steps(tokens, step))),
                "base_two": lambda tokens, step: sum(map(math.log2, _steps(tokens, step))),
                "base_ten": lambda tokens, step: sum(map(math.log10, _steps(tokens, step))),
                "sign": lambda tokens, step: -_log_probability(tokens, step),
                "mean": lambda tokens, step: fmean(map(math.log, _steps(tokens, step))),
                "mean_surprise": lambda tokens, step: -fmean(map(math.log, _steps(tokens, step))),
                "sees_the_word": _with_contexts(lambda whole, i: whole[: i + 1]),
                "last_word_only": _with_contexts(lambda whole, i: whole[max(0, i - 1) : i]),
                "no_context": _with_contexts(lambda whole, i: []),
                "begin_added": _with_contexts(lambda whole, i: [BEGIN, *whole[:i]]),
                "end_without_context": _with_contexts(lambda whole, i: [] if i == len(whole) - 1 else whole[:i]),
                "end_too_early": _with_contexts(lambda whole, i: whole[: min(i, max(0, len(whole) - 2))]),
                "first_occurrence": _with_contexts(lambda whole, i: whole[: whole.index(whole[i])]),
                "context_reversed": _with_contexts(lambda whole, i: whole[:i][::-1]),
            },
        ),
        long_text,
    ],
)


# --- perplexity_of ---------------------------------------------------------------------------------------------------


def _flat(losses: list[list[float]]) -> list[float]:
    return [loss for text in losses for loss in text]


def _perplexity(losses: list[list[float]]) -> float:
    return math.exp(fmean(_flat(losses)))


def _losses() -> Iterator[list[list[float]]]:
    yield [[0.3, 2.1, 0.9, 1.7], [3.2, 0.4]]
    yield [[1.9], [0.2, 0.7, 2.8, 0.1, 0.6], [2.4, 0.0, 1.1]]
    yield [[2.3, 0.8, 1.3]]
    yield [[0.6]]


PERPLEXITY_OF = Exercise(
    "perplexity_of",
    minutes=6,
    difficulty=1,
    section="5",
    steps=[
        Gives(
            "values",
            reference=_perplexity,
            cases=_losses,
            mistakes={
                "mean_over_texts": lambda losses: math.exp(fmean(map(fmean, losses))),
                "mean_of_perplexities": lambda losses: fmean(math.exp(fmean(text)) for text in losses),
                "per_text": lambda losses: math.exp(sum(_flat(losses)) / len(losses)),
                "sum": lambda losses: math.exp(sum(_flat(losses))),
                "mean_of_powers": lambda losses: fmean(map(math.exp, _flat(losses))),
                "base_two": lambda losses: 2 ** fmean(_flat(losses)),
                "loss_itself": lambda losses: fmean(_flat(losses)),
                "sign": lambda losses: math.exp(-fmean(_flat(losses))),
                "first_text_only": lambda losses: _perplexity(losses[:1]),
                "last_text_only": lambda losses: _perplexity(losses[-1:]),
                "list_of_perplexities": lambda losses: [math.exp(fmean(text)) for text in losses],
            },
        )
    ],
)


# --- redraw ----------------------------------------------------------------------------------------------------------


def _scaled(weights: Distribution) -> Distribution:
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def _redraw(distribution: Distribution, temperature: float) -> Distribution:
    top = max(distribution.values())
    return _scaled({word: (p / top) ** (1 / temperature) for word, p in distribution.items()})


def _favourite_only(distribution: Distribution, temperature: float) -> Distribution:
    favourite = max(distribution, key=lambda word: distribution[word])
    return {word: float(word == favourite) for word in distribution}


def _distributions() -> Iterator[tuple[Distribution, float]]:
    yield {"kite": 0.15, "ball": 0.5, "book": 0.05, "key": 0.2, "apple": 0.1}, 0.5
    yield {"kite": 0.15, "ball": 0.5, "book": 0.05, "key": 0.2, "apple": 0.1}, 2.0
    yield {"Tom": 0.07, "Rose": 0.6, "Lily": 0.33}, 0.7
    yield {"Tom": 0.07, "Rose": 0.6, "Lily": 0.33}, 1.0


def zero_stays_zero(answer: Answer) -> None:
    """A word with the probability 0 keeps it, and stays in the distribution."""
    got, wrong = _beside(answer, _redraw, {"ball": 0.7, "kite": 0.0, "book": 0.3}, 4.0)
    if not wrong:
        return
    if wrong.name == "not_finite":
        raise Wrong("log_of_zero")
    if isinstance(got, dict) and "kite" not in got:
        raise Wrong("impossible_words_dropped")
    if isinstance(got, dict) and got["kite"] > 0:
        raise Wrong("zero_comes_alive", p=f"{float(got['kite']):.2g}")
    raise wrong


def very_cold(answer: Answer) -> None:
    """0.4 to the power of 1000 is 0 for a computer; and yet two words of three stay possible."""
    case = {"Tom": 0.2002, "Rose": 0.4, "Lily": 0.3998}, 0.001
    got, wrong = _beside(answer, _redraw, *case, tolerance=1e-3)
    if not wrong:
        return
    if wrong.name == "not_finite":
        raise Wrong("underflows")
    if not difference(got, _favourite_only(*case)):
        raise Wrong("runner_up_lost")
    raise wrong


REDRAW = Exercise(
    "redraw",
    minutes=12,
    difficulty=2,
    section="4",
    steps=[
        Gives(
            "values",
            reference=_redraw,
            cases=_distributions,
            mistakes={
                "not_scaled": lambda d, t: {w: p ** (1 / t) for w, p in d.items()},
                "temperature_inverted": lambda d, t: _scaled({w: p**t for w, p in d.items()}),
                "inverted_and_not_scaled": lambda d, t: {w: p**t for w, p in d.items()},
                "unchanged": lambda d, t: d,
                "divided_by_t": lambda d, t: {w: p / t for w, p in d.items()},
                "multiplied_by_t": lambda d, t: {w: p * t for w, p in d.items()},
                "softmax_of_p": lambda d, t: _scaled({w: math.exp(p / t) for w, p in d.items()}),
                "logs_scaled": lambda d, t: _scaled({w: math.log(p) / t for w, p in d.items()}),
                "favourite_only": _favourite_only,
                "largest_is_one": lambda d, t: {w: (p / max(d.values())) ** (1 / t) for w, p in d.items()},
                "all_alike": lambda d, t: dict.fromkeys(d, 1 / len(d)),
            },
        ),
        zero_stays_zero,
        very_cold,
    ],
)


# --- bigram_table ----------------------------------------------------------------------------------------------------

_Tokens = list[str]


def _bigram_reference(texts: list[_Tokens], alpha: float) -> Table:
    model = NGramModel(order=2, alpha=alpha).fit(texts)
    table = {before: model.next([str(before)]) for before in model.vocabulary if before != END}
    return {BEGIN: model.next([]), **table}  # type: ignore[dict-item]


def _bigrams(
    contexts_of: Callable[[_Tokens], _Tokens],
    pairs_of: Callable[[_Tokens], _Tokens] = list,
    words_of: Callable[[_Tokens], _Tokens] = lambda tokens: tokens[1:],
    borrows: bool = True,
) -> Callable[..., Table]:
    """The function of the exercise; from ``<begin>``, a text and ``<end>``, what is counted as what."""

    def bigram_table(texts: list[_Tokens], alpha: float) -> Table:
        pairs: Counter[tuple[str, str]] = Counter()
        contexts: Counter[str] = Counter()
        singles: Counter[str] = Counter()
        for text in texts:
            tokens = [BEGIN, *text, END]
            pairs.update(pairwise(pairs_of(tokens)))
            contexts.update(contexts_of(tokens))
            singles.update(words_of(tokens))
        n, known, a = singles.total(), len(singles), alpha if borrows else 0.0
        borrowed = {word: (count + alpha / known) / (n + alpha) for word, count in singles.items()}
        return {
            before: {word: (pairs[before, word] + a * borrowed[word]) / (contexts[before] + a) for word in singles}
            for before in contexts
        }

    return bigram_table


def _corpora() -> Iterator[tuple[list[_Tokens], float]]:
    yield [text.split() for text in ("Tom found a kite .", "Tom smiled . Rose smiled .", "Rose found a rose .")], 0.5
    yield [text.split() for text in ("a b a c", "b a a", "c b")], 1.5
    yield [["so", "it", "ends"]], 0.2


BIGRAM_TABLE = Exercise(
    "repaired_table",
    minutes=12,
    difficulty=2,
    section="3",
    steps=[
        Gives(
            "values",
            reference=_bigram_reference,
            cases=_corpora,
            mistakes={
                "still_there": _bigrams(lambda tokens: tokens[:-2]),
                "end_as_context": _bigrams(list),
                "begin_lost": _bigrams(lambda tokens: tokens[1:-1]),
                "contexts_shifted": _bigrams(lambda tokens: tokens[1:]),
                "end_not_a_pair": _bigrams(lambda tokens: tokens[:-2], pairs_of=lambda tokens: tokens[:-1]),
                "end_unknown": _bigrams(
                    lambda tokens: tokens[:-2],
                    pairs_of=lambda tokens: tokens[:-1],
                    words_of=lambda tokens: tokens[1:-1],
                ),
                "begin_as_word": _bigrams(lambda tokens: tokens[:-1], words_of=list),
                "nothing_borrowed": _bigrams(lambda tokens: tokens[:-1], borrows=False),
            },
        )
    ],
)


# --- distribution_test -----------------------------------------------------------------------------------------------

_TEXTS = [text.split() for text in ("Rose found a kite .", "Rose found a rose .", "Tom found a kite .", "Tom smiled .")]
_MODEL = NGramModel(order=2).fit(_TEXTS)
_ONE_WORD, _TWO_WORDS = NGramModel(order=1).fit(_TEXTS), NGramModel(order=3, alpha=0.3).fit(_TEXTS)


def _next(so_far: Sequence[str], model: NGramModel = _MODEL) -> Distribution:
    return {str(word): p for word, p in model.next(so_far).items()}


def _count(so_far: Sequence[str]) -> int:
    """How often the last word (or the beginning of a text) stood before some word."""
    return _MODEL.totals[1][tuple(so_far[-1:]) or (BEGIN,)]


def _pairs(so_far: Sequence[str]) -> Counter[str]:
    return Counter({str(w): n for w, n in _MODEL.counts[1].get(tuple(so_far[-1:]) or (BEGIN,), Counter()).items()})


def _exact(distribution: Distribution) -> Distribution:
    """Nearly the same numbers, which add up to exactly 1 in any order: all are multiples of 2 to the power of -40."""
    parts = {word: round(p * 2**40) for word, p in distribution.items()}
    parts[max(parts, key=lambda word: parts[word])] += 2**40 - sum(parts.values())
    return {word: part / 2**40 for word, part in parts.items()}


def _adds_one(so_far: Sequence[str]) -> Distribution:
    pairs, words = _pairs(so_far), list(_next([]))
    return _exact({word: (pairs[word] + 1) / (pairs.total() + len(words)) for word in words})


def _too_much(so_far: Sequence[str]) -> Distribution:
    count = _count(so_far)
    return {word: p * (count + _MODEL.alpha) / count if count else p for word, p in _next(so_far).items()}


def _with_zeros(so_far: Sequence[str]) -> Distribution:
    pairs = _pairs(so_far)
    return {word: pairs[word] / pairs.total() if pairs else p for word, p in _next(so_far).items()}


def _with_negatives(so_far: Sequence[str]) -> Distribution:
    likeliest, *others = _next(so_far).items()
    taken = {word: p - 0.05 for word, p in others}
    return {likeliest[0]: likeliest[1] + 0.05 * len(others), **taken}


def _half_if_unseen(so_far: Sequence[str]) -> Distribution:
    return {word: p if _count(so_far) else p * _MODEL.alpha for word, p in _next(so_far).items()}


class _WithoutEnd(Distribution):
    """Who asks for a word that is missing has found what is wrong, whether with ``assert`` or not."""

    def __missing__(self, word: str) -> float:
        raise AssertionError(f"the distribution has no {word!r}")


def _without_end(so_far: Sequence[str]) -> Distribution:
    return _WithoutEnd(_scaled({word: p for word, p in _next(so_far).items() if word != END}))


def _needs_a_word(so_far: Sequence[str]) -> Distribution:
    return _next([so_far[-1]])


DISTRIBUTION_TEST = Exercise(
    "distribution_test",
    minutes=15,
    difficulty=2,
    section="3",
    steps=[
        Catches(
            "tells_right_from_broken",
            right={  # only the last does not add up to exactly 1, so that what refuses it can be named
                "one_word": lambda so_far: _exact(_next(so_far)),
                "adds_one": _adds_one,
                "two_words": lambda so_far: _exact(_next(so_far, _TWO_WORDS)),
                "rounded": lambda so_far: {word: p * (1 + 4e-15) for word, p in _next(so_far).items()},
            },
            broken={
                "too_much": _too_much,
                "negatives": _with_negatives,
                "zeros": _with_zeros,
                "no_end": _without_end,
                "no_context": lambda so_far: _next(so_far, _ONE_WORD),
                "first_word": lambda so_far: _next(so_far[:1]),
                "empty": _needs_a_word,
                "unseen": _half_if_unseen,
            },
        )
    ],
)


# --- nats_above_floor ------------------------------------------------------------------------------------------------


def _mean_surprise(truth: Distribution, model: Distribution) -> float:
    """What text from ``truth`` costs ``model``, in nats per token."""
    if any(truth[word] > 0 and model[word] == 0 for word in truth):
        return math.inf
    return -sum(p * math.log(model[word]) for word, p in truth.items() if p > 0)


def _above_floor(truth: Distribution, model: Distribution) -> float:
    return _mean_surprise(truth, model) - _mean_surprise(truth, truth)


def _in_order_of(truth: Distribution, model: Distribution) -> Distribution:
    return dict(zip(truth, model.values(), strict=True))


def _coins() -> Iterator[tuple[Distribution, Distribution]]:
    yield {"heads": 0.7, "tails": 0.3}, {"tails": 0.6, "heads": 0.4}
    yield {"a": 0.5, "b": 0.2, "c": 0.3}, {"c": 0.15, "a": 0.25, "b": 0.6}
    yield {"a": 0.1, "b": 0.05, "c": 0.6, "d": 0.25}, {"b": 0.05, "d": 0.25, "a": 0.1, "c": 0.6}


def never_said(answer: Answer) -> None:
    """What has the probability 0 in truth costs nothing, whatever the model says."""
    for case in (
        ({"a": 0.6, "b": 0.0, "c": 0.4}, {"c": 0.3, "b": 0.2, "a": 0.5}),
        ({"a": 0.0, "b": 0.9, "c": 0.1}, {"b": 0.8, "c": 0.2, "a": 0.0}),
    ):
        _, wrong = _beside(answer, _above_floor, *case)
        if wrong:
            raise Wrong("log_of_zero") if wrong.name == "not_finite" else wrong


def impossible(answer: Answer) -> None:
    """A model that calls impossible what happens is infinitely far above the floor."""
    truth, model = {"a": 0.6, "b": 0.1, "c": 0.3}, {"c": 0.5, "b": 0.0, "a": 0.5}
    got, wrong = _beside(answer, _above_floor, truth, model)
    if not wrong:
        return
    if wrong.name == "not_finite":
        raise Wrong("log_of_impossible")
    skipped = sum(p * math.log(p / model[word]) for word, p in truth.items() if model[word])
    if not difference(got, skipped):
        raise Wrong("impossible_is_free")
    raise Wrong("impossible_is_cheap") if wrong.name == "unknown" else wrong


NATS_ABOVE_FLOOR = Exercise(
    "nats_above_floor",
    minutes=15,
    difficulty=3,
    section="5",
    steps=[
        Gives(
            "values",
            reference=_above_floor,
            cases=_coins,
            mistakes={
                "floor_kept": _mean_surprise,
                "floor_added": lambda truth, model: _mean_surprise(truth, model) + _mean_surprise(truth, truth),
                "floor_only": lambda truth, model: _mean_surprise(truth, truth),
                "sign": lambda truth, model: -_above_floor(truth, model),
                "swapped": lambda truth, model: _above_floor(model, truth),
                "two_floors": lambda truth, model: _mean_surprise(model, model) - _mean_surprise(truth, truth),
                "by_position": lambda truth, model: _above_floor(truth, _in_order_of(truth, model)),
                "not_weighted": lambda truth, model: sum(math.log(truth[w] / model[w]) for w in truth),
                "all_words_alike": lambda truth, model: fmean(math.log(truth[w] / model[w]) for w in truth),
                "base_two": lambda truth, model: _above_floor(truth, model) / math.log(2),
                "no_logarithm": lambda truth, model: sum(abs(truth[w] - model[w]) for w in truth),
                "perplexity": lambda truth, model: math.exp(_above_floor(truth, model)),
            },
        ),
        never_said,
        impossible,
    ],
)


# --- draw ------------------------------------------------------------------------------------------------------------


def _draw(distribution: Distribution, u: float, scale: Iterable[str] | None = None) -> str:
    """The word in whose part of the scale ``u`` lies; ``scale`` is the order of the words on it."""
    words = list(distribution if scale is None else scale)
    ends = accumulate(distribution[word] for word in words)
    found = (word for word, end in zip(words, ends, strict=True) if u < end)
    return next(found, words[-1])


def _above(distribution: Distribution, u: float) -> str:
    """A mistake: the first word whose own probability is above ``u``. Where there is none, learners do many things."""
    return next((word for word, p in distribution.items() if p > u), _draw(distribution, u))


def _neighbour(step: int) -> Callable[[Distribution, float], str]:
    """A mistake: the word ``step`` places behind the right one. Where there is none, learners do many things."""

    def wrong(distribution: Distribution, u: float) -> str:
        words = list(distribution)
        place = words.index(_draw(distribution, u)) + step
        return words[min(max(place, 0), len(words) - 1)]

    return wrong


def _end_included(distribution: Distribution, u: float) -> str | None:
    ends = zip(distribution, accumulate(distribution.values()), strict=True)
    return next((word for word, end in ends if u <= end), None)


_THINGS = {"kite": 0.125, "ball": 0.25, "book": 0.0, "key": 0.5, "apple": 0.125}


def _draws() -> Iterator[tuple[Distribution, float]]:
    for u in (0.05, 0.12, 0.2, 0.27, 0.35, 0.42, 0.55, 0.72, 0.9, 0.97):
        yield {"kite": 0.15, "ball": 0.1, "apple": 0.2, "book": 0.25, "key": 0.3}, u
        yield {"Tom": 0.3, "Rose": 0.4, "Lily": 0.26, "Max": 0.04}, u
    yield {"school": 1.0}, 0.6


def _borders() -> Iterator[tuple[Distribution, float]]:
    for u in (0.125, 0.375, 0.875, 0.3):
        yield _THINGS, u
    yield {"never": 0.0, "always": 1.0}, 0.0


def rounded_down(answer: Answer) -> None:
    """Ten times 0.1 is less than 1 for a computer, so ``u`` may lie above the last end."""
    for parts in (10, 6):
        distribution = {f"word {i}": 1 / parts for i in range(parts)}
        got, wrong = _beside(answer, _draw, distribution, math.nextafter(1, 0))
        if wrong and wrong.name == "not_finite":
            raise Wrong("falls_off_the_end")
        if wrong:
            raise Wrong("far_from_the_end", word=got) if got in list(distribution) else wrong


DRAW = Exercise(
    "draw",
    minutes=20,
    difficulty=3,
    section="4",
    steps=[
        Gives(
            "values",
            reference=_draw,
            cases=_draws,
            mistakes={
                "likeliest": lambda d, u: max(d, key=lambda word: d[word]),
                "not_added_up": _above,
                "one_too_late": _neighbour(1),
                "one_too_early": _neighbour(-1),
                "sorted_first": lambda d, u: _draw(d, u, sorted(d, key=lambda word: -d[word])),
                "sorted_upwards": lambda d, u: _draw(d, u, sorted(d, key=lambda word: d[word])),
                "alphabetical": lambda d, u: _draw(d, u, sorted(d)),
                "from_the_end": lambda d, u: _draw(d, u, reversed(d)),
                "all_alike": lambda d, u: list(d)[int(u * len(d))],
                "closest": lambda d, u: min(d, key=lambda word: abs(d[word] - u)),
                "u_ignored": lambda d, u: random.choices(list(d), list(d.values()))[0],
                "first_word": lambda d, u: next(iter(d)),
            },
        ),
        Gives("borders", reference=_draw, cases=_borders, mistakes={"border_of_the_word_before": _end_included}),
        rounded_down,
    ],
)

EXERCISES = [
    LOG_PROBABILITY,
    PERPLEXITY_OF,
    REDRAW,
    BIGRAM_TABLE,
    DISTRIBUTION_TEST,
    NATS_ABOVE_FLOOR,
    DRAW,
]
