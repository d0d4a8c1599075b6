"""Scores against scikit-learn, seqeval, sacreBLEU and SQuAD's rules; intervals against slow resampling and theory."""

import inspect
import math
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.data.batches import IGNORE, EpochBatches
from course_lib.objectives.causal import LossSum, causal_loss
from course_lib.using import evaluation
from course_lib.using.evaluation import (
    Interval,
    Metric,
    accuracy,
    answer_f1,
    bleu,
    bootstrap,
    corpus_perplexity,
    entity_f1,
    exact_match,
    macro_f1,
    micro_f1,
    normalised_answer,
    paired_bootstrap,
    perplexity,
    scored_by,
)
from tests.layers.helpers import unchecked, wrong
from tests.models.helpers import T, V, gpt, random_ids

# --- labels, tags, texts and answers, with mistakes ------------------------------------------------------------------

WORDS = ["the", "a", "cat", "Cat,", "sat", "mat.", "on", "dog", "ran", "an", "owl!", "red-hot"]
TYPES = ["PER", "LOC", "MISC"]


def labels(seed: int, size: int = 97, wrong_share: float = 0.3) -> tuple[list[str], list[str]]:
    """Skewed: "a" is frequent, "d" is never true."""
    random = np.random.default_rng(seed)
    true = random.choice(["a", "b", "c"], size, p=[0.7, 0.2, 0.1])
    predicted = np.where(random.random(size) < wrong_share, random.choice(["a", "b", "c", "d"], size), true)
    return true.tolist(), predicted.tolist()


def legal_tags(random: np.random.Generator, length: int) -> list[str]:
    tags: list[str] = []
    for _ in range(length):
        before = tags[-1] if tags else "O"
        choices = ["O", "O", *(f"B-{kind}" for kind in TYPES), *([f"I-{before[2:]}"] * 3 if before != "O" else [])]
        tags.append(str(random.choice(choices)))
    return tags


def tagged(seed: int, sentences: int = 41, wrong_share: float = 0.2) -> tuple[list[list[str]], list[list[str]]]:
    """Some predicted tags are any at all, so that many sequences are no legal IOB2. One sentence has no word."""
    random = np.random.default_rng(seed)
    anything = ["O", *(f"{p}-{kind}" for p in "BI" for kind in TYPES)]
    true = [[], *(legal_tags(random, int(random.integers(1, 12))) for _ in range(sentences - 1))]
    predicted = [[str(random.choice(anything)) if random.random() < wrong_share else t for t in tags] for tags in true]
    return true, predicted


def texts(seed: int, size: int = 53, wrong_share: float = 0.3) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(seed)
    right = [random.choice(WORDS, int(random.integers(1, 15))).tolist() for _ in range(size)]
    said = [[str(random.choice(WORDS)) if random.random() < wrong_share else word for word in words] for words in right]
    said[3] = []
    return [" ".join(words) for words in said], [" ".join(words) for words in right]


def answered(seed: int, size: int = 61) -> tuple[list[str], list[list[str]]]:
    """One to three right answers, of which the prediction is often a part, or a sloppy copy."""
    random = np.random.default_rng(seed)
    answers = [
        [" ".join(random.choice(WORDS, int(random.integers(1, 5)))) for _ in range(int(random.integers(1, 4)))]
        for _ in range(size)
    ]
    said = []
    for right in answers:
        words = str(random.choice(right)).split()
        said.append([" ".join(words), " ".join(words[1:]), " the " + " ".join(words).upper() + "?"][random.integers(3)])
    return said, answers


# --- the numbers of others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_f1_are_scikit_learns(seed):
    from sklearn.metrics import accuracy_score, f1_score

    true, predicted = labels(seed)
    assert accuracy(true, predicted) == pytest.approx(100 * accuracy_score(true, predicted), rel=1e-12)
    assert macro_f1(true, predicted) == pytest.approx(100 * f1_score(true, predicted, average="macro"), rel=1e-12)
    assert micro_f1(true, predicted) == pytest.approx(100 * f1_score(true, predicted, average="micro"), rel=1e-12)
    for some in (["b"], ["b", "d"]):
        expected = f1_score(true, predicted, labels=some, average="micro")
        assert micro_f1(true, predicted, labels=some) == pytest.approx(100 * expected, rel=1e-12)
        assert abs(100 * expected - micro_f1(true, predicted)) > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_entity_f1_is_seqevals_strict_one(seed):
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    true, predicted = tagged(seed)
    expected = f1_score(true, predicted, mode="strict", scheme=IOB2)
    assert entity_f1(true, predicted) == pytest.approx(100 * expected, rel=1e-12)
    lenient = f1_score(true, predicted)
    assert abs(expected - lenient) > 0.005  # there are illegal tags, of which the usual mode makes entities


@pytest.mark.parametrize("seed", range(3))
def test_bleu_is_sacrebleus(seed):
    from sacrebleu.metrics import BLEU

    said, right = texts(seed)
    assert bleu(said, right) == BLEU().corpus_score(said, [right]).score
    chinese = [text.replace("cat", "玫瑰花").replace("dog", "小狗跑").replace(" ", "") for text in said]
    into = [text.replace("cat", "玫瑰花").replace("dog", "小狗跑").replace(" ", "") for text in right]
    assert bleu(chinese, into, language="zh") == BLEU(tokenize="zh").corpus_score(chinese, [into]).score
    assert abs(bleu(chinese, into, language="zh") - bleu(chinese, into)) > 1
    assert bleu(["", "a"], ["b c", "d"]) == 0
    short = ["a cat sat", "a red owl ran"], ["a cat ran", "a red owl sat"]  # no four words are right: smoothed
    assert bleu(*short) == BLEU().corpus_score(short[0], [short[1]]).score > 10


def slow_squad(predicted: list[str], answers: list[list[str]]) -> dict[str, float]:
    """The rules of evaluate-v1.1.py, followed in another way: one character, one word, one answer after the other."""

    def words(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if not 33 <= ord(c) <= 126 or c.isalnum())
        return [word for word in re.split(r"\s+", kept) if word not in ("", "a", "an", "the")]

    exact = f1 = 0.0
    for text, right in zip(predicted, answers, strict=True):
        exact += any(words(text) == words(answer) for answer in right)
        best = 0.0
        for answer in right:
            left, common = words(answer), 0
            for word in words(text):
                if word in left:
                    left.remove(word)
                    common += 1
            if common:
                precision, recall = common / len(words(text)), common / len(words(answer))
                best = max(best, 2 * precision * recall / (precision + recall))
        f1 += best
    return {"exact_match": 100 * exact / len(predicted), "f1": 100 * f1 / len(predicted)}


@pytest.mark.parametrize("seed", range(3))
def test_squad_scores_are_those_of_its_rules(seed):
    predicted, answers = answered(seed)
    expected = slow_squad(predicted, answers)
    assert exact_match(predicted, answers) == pytest.approx(expected["exact_match"], rel=1e-12)
    assert answer_f1(predicted, answers) == pytest.approx(expected["f1"], rel=1e-12)
    assert all(20 < score < 99 for score in expected.values())


def test_squad_by_hand():
    answers = [["Denver Broncos", "the Denver Broncos", "Broncos"], ["gold", "Gold!"], ["Santa Clara, California"]]
    predicted = ["The  broncos.", "golden", "in Santa Clara"]
    assert exact_match(predicted, answers) == pytest.approx(100 / 3)
    assert answer_f1(predicted, answers) == pytest.approx(100 / 3 * (1 + 0 + 2 * (2 / 3 * 2 / 3) / (4 / 3)))
    assert exact_match(["the"], [["A"]]) == 100  # nothing is left of both: equal, and without a common word
    assert answer_f1(["the"], [["A"]]) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat!", "cat"),
        ("an owl, a theatre and a cat", "owl theatre and cat"),  # "the" inside of a word stays
        ("it's 3.5", "its 35"),
        ("the-cat", "thecat"),  # punctuation goes first, so this is no article
        ("\tA\nRose\u00a0", "rose"),
        ("“Rose”—玫瑰。", "“rose”—玫瑰。"),  # ASCII punctuation alone
        ("A.", ""),
    ],
)
def test_answers_are_normalised_as_the_official_script_does(text, expected):
    assert normalised_answer(text) == expected


def test_f1_by_hand():
    """a: 2 right of 3 true and 2 said. b: 1 of 1 and 3. c: 0 of 1, never said."""
    true, predicted = ["a", "a", "a", "b", "c"], ["a", "a", "b", "b", "b"]
    assert accuracy(true, predicted) == 60
    assert macro_f1(true, predicted) == pytest.approx(100 * (4 / 5 + 2 / 4 + 0) / 3)
    assert micro_f1(true, predicted, labels=["b", "c"]) == pytest.approx(100 * 2 / 5)
    assert micro_f1(true, predicted, labels=["z"]) == 0
    assert macro_f1(["a"], ["a"]) == 100


def test_entities_by_hand():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "B-PER"]]
    cases = {
        "all": (true, 100),
        "one too short": ([["B-PER", "O", "O", "B-LOC"], ["B-PER", "B-PER"]], 75),
        "of another type": ([["B-LOC", "I-LOC", "O", "B-LOC"], ["B-PER", "B-PER"]], 75),
        "two become one": ([["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER"]], 100 * 2 * 2 / (3 + 4)),
        "an I that continues nothing is none": ([["I-PER", "I-PER", "O", "B-LOC"], ["B-PER", "B-PER"]], 100 * 6 / 7),
        "an I of another type ends it": ([["B-PER", "I-LOC", "O", "B-LOC"], ["B-PER", "B-PER"]], 75),
        "none": ([["O"] * 4, ["O"] * 2], 0),
    }
    for name, (predicted, expected) in cases.items():
        assert entity_f1(true, predicted) == pytest.approx(expected), name
    assert entity_f1([["O"]], [["O"]]) == 0  # as seqeval says, which warns; there is no entity to find


# --- perplexity ------------------------------------------------------------------------------------------------------


def batches(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Of very different numbers of targets."""
    result = []
    for rows in (3, 1, 2):
        ids = random_ids(rows, T + 1, seed=seed + rows)
        targets = ids[:, 1:].clone()
        targets[:, rows + 1 :] = IGNORE
        result.append((ids[:, :-1], targets))
    return result


def test_perplexity_is_exp_of_the_mean_over_all_targets():
    model = gpt(dropout=0.5).train()
    value = perplexity(model, iter(batches()), causal_loss)
    assert model.training
    assert not any(p.grad is not None for p in model.parameters())
    nats = [
        nn.functional.cross_entropy(model.eval()(ids).flatten(0, 1), targets.flatten(), reduction="none")
        for ids, targets in batches()
    ]
    every = torch.cat([n[n != 0] for n in nats])
    assert len(every) == 3 * 4 + 1 * 2 + 2 * 3
    assert value == pytest.approx(math.exp(every.mean().item()), rel=1e-12)
    means = [n[n != 0].mean().item() for n in nats]
    assert abs(value - math.exp(sum(means) / 3)) > 0.01 * value  # a mean of means is another number


def test_a_model_that_knows_nothing_chooses_among_all():
    def blind(model: nn.Module, batch: tuple[Tensor, Tensor]) -> LossSum:
        count = (batch[1] != IGNORE).sum()
        return LossSum(math.log(V) * count, count)

    assert perplexity(gpt(), batches(), blind) == pytest.approx(V)
    assert corpus_perplexity([1e4], [1]) == math.inf


# --- intervals -------------------------------------------------------------------------------------------------------

FAST: dict[str, tuple[Metric, Callable[[int], tuple[Any, Any]], dict[str, Any]]] = {
    "accuracy": (accuracy, labels, {}),
    "macro_f1": (macro_f1, labels, {}),
    "micro_f1": (micro_f1, labels, {"labels": ["b", "c"]}),
    "entity_f1": (entity_f1, tagged, {}),
    "exact_match": (exact_match, answered, {}),
    "answer_f1": (answer_f1, answered, {}),
    "bleu": (bleu, texts, {"language": "zh"}),
    "corpus_perplexity": (corpus_perplexity, lambda seed: ([3.0, 2.5, 7.0, 1.0], [2, 1, 4, 3]), {}),
}


def slowly(metric: Metric) -> Callable[..., float]:
    """The same as a function of lists, which a bootstrap must call for each resample."""
    return lambda *lists, **options: metric(*lists, **options)


@pytest.mark.parametrize("name", FAST)
def test_resampled_counts_are_resampled_items(name):
    metric, make, options = FAST[name]
    lists = make(4)
    fast = bootstrap(metric, *lists, resamples=25, seed=3, **options)
    slow = bootstrap(slowly(metric), *lists, resamples=25, seed=3, **options)
    assert tuple(fast) == pytest.approx(tuple(slow), rel=1e-12)
    assert fast.value == pytest.approx(metric(*lists, **options), rel=1e-12)
    assert fast.low < fast.value < fast.high
    better = (lists[0], lists[0]) if name.endswith("f1") and name != "answer_f1" else lists
    fast, slow = (paired_bootstrap(f, better, lists, resamples=25, seed=3, **options) for f in (metric, slowly(metric)))
    assert tuple(fast) == pytest.approx(tuple(slow), rel=1e-9, abs=1e-9)


def test_each_item_is_counted_once_however_many_resamples_there_are():
    calls = []

    @scored_by(lambda sums: sums[:, 0] / sums[:, 1])
    def mean(values: list[int]) -> Any:
        calls.append(values)
        return np.array([(value, 1) for value in values], dtype=float)

    interval = bootstrap(mean, range(8), resamples=90)
    assert calls == [[*range(8)]]
    assert interval.low < interval.value == 3.5 < interval.high


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    true, predicted = [1] * 2000, [1] * 1400 + [0] * 600
    interval = bootstrap(accuracy, true, predicted, resamples=4000)
    sigma = 100 * math.sqrt(0.7 * 0.3 / 2000)  # 1.02 points
    assert interval.value == 70
    assert interval.low == pytest.approx(70 - 1.96 * sigma, abs=0.12 * sigma)  # about 3 standard errors of a quantile
    assert interval.high == pytest.approx(70 + 1.96 * sigma, abs=0.12 * sigma)
    narrow = bootstrap(accuracy, true, predicted, resamples=4000, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * sigma, rel=0.1)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """100 samples of 60 items, of which 30% are right: in 95 of 100, and with 4 sigma in 86 or more."""
    held = 0
    for seed in range(100):
        right = (np.random.default_rng(1000 + seed).random(60) < 0.3).tolist()
        interval = bootstrap(accuracy, [True] * 60, right, resamples=200, seed=seed)
        held += interval.low <= 30 <= interval.high
    assert 86 <= held < 100


def test_whole_items_are_drawn_as_many_as_there_are():
    sizes, items = set(), set()

    def look(true: list[int], predicted: list[int]) -> float:
        assert [10 * t for t in true] == predicted  # pairs stay together
        sizes.add(len(true))
        items.add(tuple(true))
        return float(len({*true}))

    interval = bootstrap(look, range(50), [10 * i for i in range(50)], resamples=99)
    assert sizes == {50}
    assert len(items) == 100
    assert {*range(50)} == {item for sample in items - {(*range(50),)} for item in sample}
    assert interval.value == 50
    assert 25 < interval.low < interval.high < 40  # with replacement, 63% of the items are in a sample


def test_a_seed_decides():
    true, predicted = labels(0)
    first = bootstrap(macro_f1, true, predicted, seed=1)
    np.random.seed(5)  # noqa: NPY002
    assert bootstrap(macro_f1, true, predicted, seed=1) == first
    assert bootstrap(macro_f1, true, predicted, seed=2) != first


def test_a_difference_is_paired():
    """Both fail on hard items: each alone is uncertain, and still one is better than the other for sure."""
    true = [1] * 400
    old = [1] * 200 + [0] * 200
    new = [1] * 230 + [0] * 170
    gain = paired_bootstrap(accuracy, (true, new), (true, old))
    alone = [bootstrap(accuracy, true, predicted) for predicted in (new, old)]
    assert gain.value == 7.5
    sigma = 100 * math.sqrt(0.075 * 0.925 / 400)  # of the share of items that only the new one has right
    assert gain.low == pytest.approx(7.5 - 1.96 * sigma, abs=0.25 * sigma)
    assert gain.high == pytest.approx(7.5 + 1.96 * sigma, abs=0.25 * sigma)
    assert alone[1].high > alone[0].low
    loss = paired_bootstrap(accuracy, (true, old), (true, new))
    assert tuple(loss) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert tuple(paired_bootstrap(accuracy, (true, old), (true, old))) == (0, 0, 0)


def test_a_label_that_a_resample_lacks_does_not_count_as_zero():
    """One item of 30 is "b", all are right: whatever is drawn, the mean F1 is 100."""
    true = ["a"] * 29 + ["b"]
    assert tuple(bootstrap(macro_f1, true, true, resamples=100)) == (100, 100, 100)


def test_two_thousand_items_and_a_thousand_resamples_take_a_moment():
    """CPU time, with much room: one resample after the other takes minutes."""
    true, predicted = labels(0, size=2000)
    sentences = tagged(0, sentences=2000)
    started = time.process_time()
    bootstrap(macro_f1, true, predicted)
    bootstrap(entity_f1, *sentences)
    bootstrap(bleu, *texts(0, size=2000))
    assert time.process_time() - started < 10


def test_an_interval_prints_with_fixed_decimals():
    interval = Interval(81.2345, 79.4961, 82.95)
    assert str(interval) == repr(interval) == f"{interval}" == "81.2 [79.5, 83.0]"
    assert f"{interval:.3f}" == "81.234 [79.496, 82.950]"
    assert str(Interval(100.0, -0.04, 0)) == "100.0 [0.0, 0.0]"
    value, low, high = interval
    assert (value, low, high) == (81.2345, 79.4961, 82.95)


def test_a_metric_shows_its_own_name_text_and_source():
    assert accuracy.__name__ == "accuracy"  # type: ignore[attr-defined]
    assert accuracy.__doc__ == "How many of 100 items are right."
    assert list(inspect.signature(bleu).parameters) == ["hypotheses", "references", "language"]
    assert inspect.getsource(wrong(accuracy).__wrapped__).startswith("@scored_by(_share)\ndef accuracy(")
    metrics = [name for name, value in vars(evaluation).items() if isinstance(value, Metric)]
    assert sorted(metrics) == sorted(FAST)


def test_tensors_arrays_and_ranges_are_lists_too():
    true, predicted = [1, 0, 2, 1], [1, 1, 2, 0]
    for make in (torch.tensor, np.array, tuple, iter, lambda x: [torch.tensor(i) for i in x], lambda x: [*np.array(x)]):
        assert accuracy(make(true), make(predicted)) == 50
        assert macro_f1(make(true), make(predicted)) == macro_f1(true, predicted)
        assert bootstrap(accuracy, make(true), make(predicted)) == bootstrap(accuracy, true, predicted)
    assert accuracy(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]])) == 50  # whole rows


def test_nothing_is_printed_and_nothing_warns(capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric, make, options in FAST.values():
            bootstrap(metric, *make(1), resamples=5, **options)
        bleu(["a b c ."] * 150, ["a b c ."] * 150)  # cut into words already: sacreBLEU would say so
        entity_f1([["O"]], [["O"]])
        macro_f1(["a"], ["b"])
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- bad input -------------------------------------------------------------------------------------------------------

PERSON = [["B-PER", "I-PER"], ["O"]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accuracy([1, 2], [1]), ValueError, "predicted has 1 items and true has 2: they must be pairs"),
        (lambda: accuracy([], []), ValueError, "true is empty: there is nothing to score"),
        (lambda: accuracy("ab", "ab"), TypeError, "true must be a list of items, not 'ab'"),
        (lambda: accuracy([1], wrong(1)), TypeError, "predicted must be a list of items, not 1"),
        (lambda: accuracy(), TypeError, "lists are missing: a metric compares lists item by item, as accuracy(true,"),
        (
            lambda: bootstrap(accuracy, [1], [1, 2]),
            ValueError,
            "list 2 has 2 items and list 1 has 1: they must be pairs",
        ),
        (lambda: bootstrap(accuracy, [1], [1], resamples=0), ValueError, "resamples is 0: it must be at least 1"),
        (
            lambda: bootstrap(accuracy, [1], [1], level=95.0),
            ValueError,
            "level is 95.0: it must be between 0 and 1, as",
        ),
        (
            lambda: paired_bootstrap(accuracy, ([1], [1]), ([1, 2], [1, 2])),
            ValueError,
            "baseline has 2 items and lists 1: both must be the same items, in the same order",
        ),
        (lambda: bleu(["a"], ["a"], language="chinese"), ValueError, "language is 'chinese': it must be a code of two"),
        (lambda: bleu(["a"], ["a"], language="zh-CN"), ValueError, "language is 'zh-CN': it must be a code of two let"),
        (lambda: exact_match(["a"], ["a"]), ValueError, "answers[0] is 'a': it must be a list of right answers, as ['"),
        (
            lambda: answer_f1(["a", "b"], [["a"], []]),
            ValueError,
            "answers[1] is []: it must be a list of right answers",
        ),
        (
            lambda: corpus_perplexity([1.0, 2.0], [3, 0]),
            ValueError,
            "targets[1] is 0: leave out texts in which there is no",
        ),
        (
            lambda: perplexity(gpt(), EpochBatches(batches()[0], 2, seed=0), causal_loss),
            ValueError,
            "batches never end: give a list of them, as list(islice(batches, 20))",
        ),
        (lambda: entity_f1(["O"], ["O"]), TypeError, "true[0] is 'O': an item is the list of a sentence's tags"),
        (lambda: entity_f1(PERSON, [["O"], ["O"]]), ValueError, "predicted[0] has 1 tags and true[0] has 2"),
        (lambda: entity_f1(PERSON, PERSON[::-1]), ValueError, "predicted[0] has 1 tags and true[0] has 2"),
        (lambda: entity_f1(PERSON, [["S-PER", "O"], ["O"]]), ValueError, "predicted[0] has the tag 'S-PER': in IOB2"),
        (
            lambda: entity_f1(PERSON, [["B-PER", "O"], [""]]),
            ValueError,
            "predicted[1] has the tag '': in IOB2 tags are",
        ),
        (lambda: entity_f1(PERSON, [["B-PER", "B-"], ["O"]]), ValueError, "predicted[0] has the tag 'B-': in IOB2"),
        (lambda: entity_f1([[1, 2]], [[1, 2]]), ValueError, "true[0] has the tag 1: in IOB2 tags are O, B-TYPE and I-"),
        (lambda: entity_f1([["PER"]], [["O"]]), ValueError, "true[0] has the tag 'PER': in IOB2 tags are O, B-TYPE"),
        (
            lambda: entity_f1([["O"], ["I-PER"]], [["O"], ["O"]]),
            ValueError,
            "true[1] has I-PER behind O: in IOB2, an entity begins with B-PER",
        ),
        (
            lambda: entity_f1([["B-LOC", "I-PER"]], [["O", "O"]]),
            ValueError,
            "true[0] has I-PER behind B-LOC: in IOB2, an entity begins with B-PER",
        ),
    ],
)
def test_misuse_is_named(call, error, message):
    with unchecked(), pytest.raises(error, match=f"^{re.escape(message)}"):
        call()
