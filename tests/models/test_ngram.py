"""The counting model: numbers worked out by hand, the laws of probability, and a brute-force twin."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from course_lib.models.ngram import BEGIN, END, NGramModel

CORPUS = [["Rose", "found", "a", "rose"], ["Tom", "found", "Rose"], ["Rose", "found", "Tom"]]


def by_brute_force(order: int, alpha: Fraction, corpus: list[list[str]], sequence: list[str]) -> Fraction:
    """P(sequence, END) from the definition, with fractions, looking through the corpus for every single count."""
    padded = [[BEGIN] * (order - 1) + s + [END] for s in corpus]
    vocabulary = {token for s in corpus for token in s} | {END}

    def count(gram: list[str]) -> int:
        n = len(gram)
        return sum(s[i : i + n] == gram for s in padded for i in range(order - n, len(s) - n + 1) if i + n > order - 1)

    def followed(context: list[str]) -> int:
        return sum(count([*context, token]) for token in vocabulary)

    def p(token: str, context: list[str]) -> Fraction:
        lower = p(token, context[1:]) if context else Fraction(1, len(vocabulary))
        return (count([*context, token]) + alpha * lower) / (followed(context) + alpha)

    tokens = [BEGIN] * (order - 1) + sequence + [END]
    total = Fraction(1)
    for i in range(order - 1, len(tokens)):
        total *= p(tokens[i], tokens[i - order + 1 : i])
    return total


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "sequence", [["Tom", "found", "a", "rose"], ["Rose"], [], ["found", "found", "Tom", "a", "rose", "Rose"]]
)
def test_log_prob_equals_the_definition_worked_out_with_fractions(order: int, sequence: list[str]) -> None:
    model = NGramModel(order, alpha=0.25).fit(CORPUS)
    expected = by_brute_force(order, Fraction(1, 4), CORPUS, sequence)
    assert model.log_prob(sequence) == pytest.approx(math.log(expected), rel=1e-12)  # rounding of a dozen products


def test_a_bigram_worked_out_by_hand() -> None:
    # 13 tokens with END, six kinds. Rose is followed 3 times, 2 of them by found; found is 3 of the 13 tokens.
    lower = (3 + 0.5 / 6) / (13 + 0.5)
    assert NGramModel(2, alpha=0.5).fit(CORPUS).probability("found", ["Rose"]) == pytest.approx(
        (2 + 0.5 * lower) / (3 + 0.5)
    )


@pytest.mark.parametrize("order", [1, 2, 4])
def test_every_distribution_sums_to_one_and_is_sorted(order: int) -> None:
    model = NGramModel(order).fit(CORPUS)
    for context in ([], ["Rose"], ["never", "seen"], ["Tom", "found", "a", "rose", "Rose"]):
        distribution = model.next(context)
        assert sum(distribution.values()) == pytest.approx(1, abs=1e-12)
        assert list(distribution.values()) == sorted(distribution.values(), reverse=True)
        assert all(distribution[token] == model.probability(token, context) for token in distribution)


def test_the_probabilities_of_all_texts_sum_to_one() -> None:
    model = NGramModel(2, alpha=0.1).fit([["a", "b"], ["a"]])
    total = sum(math.exp(model.log_prob(list(s))) for n in range(14) for s in itertools.product("ab", repeat=n))
    assert 0.999 < total < 1  # what is missing are texts of 14 letters and more


def test_the_probability_of_a_text_is_the_product_of_its_steps() -> None:
    model = NGramModel(3).fit(CORPUS)
    text = ["Tom", "found", "a"]
    steps = [model.next(text[:i])[token] for i, token in enumerate([*text, END])]
    assert model.log_prob(text) == pytest.approx(sum(map(math.log, steps)))


def test_loss_counts_the_end_as_a_token() -> None:
    model = NGramModel(2).fit(CORPUS)
    expected = -(model.log_prob(["Tom"]) + model.log_prob(["Rose", "found"])) / (2 + 3)
    assert model.loss([["Tom"], ["Rose", "found"]]) == pytest.approx(expected)


def test_samples_follow_the_probabilities() -> None:
    model = NGramModel(2, alpha=0.5).fit([["a", "b"], ["a"], ["b"]])
    n = 4000
    counts = [tuple(model.sample(seed=seed)) for seed in range(n)].count(("a", "b"))
    p = math.exp(model.log_prob(["a", "b"]))
    assert abs(counts / n - p) < 4 * math.sqrt(p * (1 - p) / n)  # four standard errors


def test_a_low_temperature_picks_the_likeliest_token_and_a_high_one_flattens() -> None:
    model = NGramModel(1).fit([["a"] * 8 + ["b"] * 2] * 5)
    assert set(model.sample(seed=1, temperature=0.01, max_tokens=20)) == {"a"}
    hot, warm = (
        [token for seed in range(100) for token in model.sample(seed=seed, temperature=t, max_tokens=20)]
        for t in (10.0, 1.0)
    )
    assert hot.count("b") / len(hot) > 1.3 * warm.count("b") / len(warm)  # towards one half, from one fifth


def test_the_same_seed_writes_the_same_text_and_leaves_the_global_generator_alone() -> None:
    model = NGramModel(2).fit(CORPUS)
    random.seed(5)
    before = random.getstate()
    assert model.sample(seed=3) == model.sample(seed=3)
    assert random.getstate() == before


def test_sampling_continues_the_prompt_and_stops_at_the_limit() -> None:
    model = NGramModel(2).fit([["a"] * 50])
    assert model.sample(seed=0, prompt=["a", "a"], max_tokens=5, temperature=0.01) == ["a"] * 7


def test_a_second_fit_adds_to_the_first() -> None:
    one, two = NGramModel(3).fit(CORPUS), NGramModel(3).fit(CORPUS[:1]).fit(CORPUS[1:])
    assert one.log_prob(["Tom", "found"]) == two.log_prob(["Tom", "found"])


def test_an_unknown_token_is_impossible_and_looking_changes_no_counts() -> None:
    model = NGramModel(2).fit(CORPUS)
    assert model.log_prob(["dragon"]) == -math.inf
    assert model.probability("dragon") == 0
    model.next(["dragon", "unicorn"])
    assert ("unicorn",) not in model.counts[1]


def test_bad_arguments_are_named() -> None:
    for order in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="order must be a whole number, 1 or larger"):
            NGramModel(order)  # type: ignore[arg-type]
    for alpha in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="alpha must be a positive number"):
            NGramModel(2, alpha=alpha)
    with pytest.raises(TypeError, match="split it first"):
        NGramModel(2).fit(["one string"])
    with pytest.raises(ValueError, match=r"call fit\(sequences\) first"):
        NGramModel(2).next()
    model = NGramModel(2).fit(CORPUS)
    with pytest.raises(ValueError, match="temperature must be larger than 0"):
        model.sample(seed=0, temperature=0)
    with pytest.raises(ValueError, match="at least one sequence"):
        model.loss([])
