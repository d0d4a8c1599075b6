"""Bugs in the models."""

from tests.planted.planting import Bug

NGRAM = ("tests/models/test_ngram.py",)

BUGS = [
    Bug(
        "the borrowed probability is not weighed",
        "course_lib/models/ngram.py",
        "+ self.alpha * p) / (total + self.alpha)",
        "+ self.alpha) / (total + self.alpha)",
        NGRAM,
    ),
    Bug(
        "the end is not counted as a token",
        "course_lib/models/ngram.py",
        "tokens += len(sequence) + 1",
        "tokens += len(sequence)",
        NGRAM,
    ),
    Bug(
        "the model sees one token less",
        "course_lib/models/ngram.py",
        "tokens[i - self.order + 1 : i])\n            if p == 0",
        "tokens[i - self.order + 2 : i])\n            if p == 0",
        NGRAM,
    ),
    Bug(
        "temperature works upside down",
        "course_lib/models/ngram.py",
        "(p / top) ** (1 / temperature)",
        "(p / top) ** temperature",
        NGRAM,
    ),
]
