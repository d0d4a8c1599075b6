"""Splitting by key, and finding text that leaked."""

import subprocess
import sys

import pytest

from course_lib.data.splits import shared_ngrams, split_of

KEYS = [f"story {i}" for i in range(5000)]


def test_the_same_key_always_falls_on_the_same_side_in_another_process_too() -> None:
    here = [split_of(key) for key in KEYS[:50]]
    code = "from course_lib.data.splits import split_of; print([split_of(f'story {i}') for i in range(50)])"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(here)


def test_the_sides_are_written_down() -> None:
    # A changed hash would move old data between the sides without a word: this holds it still.
    assert [split_of(f"story {i}") for i in range(12)] == [
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "validation",
        "train",
    ]


def test_the_shares_are_what_was_asked_for() -> None:
    sides = [split_of(key, validation=0.2, test=0.05) for key in KEYS]
    # four standard errors of a share of 5000 keys
    assert sides.count("validation") / len(KEYS) == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / 5000) ** 0.5)
    assert sides.count("test") / len(KEYS) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 5000) ** 0.5)


def test_a_larger_validation_share_never_moves_a_key_between_test_and_training() -> None:
    for key in KEYS[:500]:
        small, large = split_of(key, validation=0.1), split_of(key, validation=0.3)
        assert small == large or (small, large) == ("train", "validation")


def test_another_salt_splits_independently() -> None:
    both = sum(split_of(k, test=0.2) == "test" == split_of(k, test=0.2, salt="second") for k in KEYS) / len(KEYS)
    assert both == pytest.approx(0.04, abs=4 * (0.04 * 0.96 / 5000) ** 0.5)


def test_bad_shares_and_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"together below 1, not 0.6 and 0.4"):
        split_of("a", validation=0.6, test=0.4)
    with pytest.raises(ValueError, match="must be 0 or more"):
        split_of("a", test=-0.1)
    with pytest.raises(TypeError, match="key must be a string, not 3"):
        split_of(3)  # type: ignore[arg-type]


def test_shared_ngrams_worked_out_by_hand() -> None:
    # Runs of two in test: ab bc | bc ca. In training: bc cd. So bc, twice of four.
    assert shared_ngrams([list("abc"), list("bca")], [list("bcd")], n=2) == 0.5
    assert shared_ngrams([list("abc")], [list("xabcx")], n=3) == 1
    assert shared_ngrams([list("abc")], [list("ab"), list("c")], n=3) == 0  # no run reaches from one text into the next
    assert shared_ngrams([["a", "b"]], [["b", "a"]], n=2) == 0  # order matters
    assert shared_ngrams([[1, 2], [3]], ([t] for t in (2, 3, 9)), n=1) == pytest.approx(2 / 3)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="n = 8 tokens or more"):
        shared_ngrams([list("short")], [list("short")])
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match="n must be a whole number"):
            shared_ngrams([list("abc")], [], n=n)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="split it first"):
        shared_ngrams(["a whole text"], [], n=2)
