"""How well could anybody translate Storyworld, sentence by sentence? The ceiling that a perfect translator reaches.

One Chinese sentence has several English ones: the subject may be dropped, *the*, *a* and *it* leave no trace, several
English forms share a Chinese one. A translator who knew everything about Storyworld except the author's choices would
give the likeliest English sentence. :class:`BestTranslator` does that: it sees the analysis of the Chinese sentence,
and knows from counting how each Chinese pattern is said in English.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.grammar import LISTS, Segment, article, capitalised
from course_lib.data.storyworld.story import Sentence

Pattern = tuple[str | tuple[str, int], ...]

ENTRIES: dict[str, tuple] = {
    "PERSON": lexicon.NAMES, "PLACE": lexicon.PLACES, "noun": lexicon.THINGS, "toy": lexicon.TOY_NAMES,
    "adjective": lexicon.ADJECTIVES,
} | LISTS  # fmt: skip
# Where two English words share a Chinese one, the more frequent English word is the best guess: the first in the list.
BEST = {kind: {entry.zh: entry for entry in reversed(entries)} for kind, entries in ENTRIES.items()}


def word_of(segment: Segment) -> tuple[str, str] | None:
    """The list that a segment's word comes from and its Chinese form, or None for plain text."""
    _, label, key = segment
    kind, index = key if label == "THING" else (label, key)
    return (kind, ENTRIES[kind][index].zh) if kind in ENTRIES else None


def clauses(segments: tuple[Segment, ...]) -> list[tuple[Segment, ...]]:
    """The one or two clauses of a sentence; the second begins with its "and"."""
    cuts = [k for k, segment in enumerate(segments) if segment[1] == "and"]
    return [segments[start:end] for start, end in zip([0, *cuts], [*cuts, len(segments)], strict=True)]


class BestTranslator:
    """Chinese to English, one sentence at a time, from the counts of many stories' sentences.

        translator = BestTranslator(sentence for story in islice(world.stories(), 5000) for sentence in story.sentences)
        translator.translate(sentence)      # reads sentence.zh's analysis only

    The more sentences it has counted, the nearer it is to the true ceiling; at 50,000 it has settled (see benchmarks/).
    """

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        counts: defaultdict[Pattern, Counter[Pattern]] = defaultdict(Counter)
        for sentence in sentences:
            for zh, en in zip(clauses(sentence.segments["zh"]), clauses(sentence.segments["en"]), strict=True):
                pattern, words = self._chinese(zh)
                english = self._english(en, words)
                if english is not None:
                    counts[pattern][english] += 1
        self.best = {
            zh: max(found.items(), key=lambda item: (item[1], str(item[0])))[0] for zh, found in counts.items()
        }

    def translate(self, sentence: Sentence) -> str | None:
        """The likeliest English sentence, or None for a pattern never counted."""
        translated = []
        for segments in clauses(sentence.segments["zh"]):
            pattern, words = self._chinese(segments)
            if pattern not in self.best:
                return None
            translated.append(self._fill(self.best[pattern], words))
        return capitalised("".join(translated))

    @staticmethod
    def _fill(pattern: Pattern, words: list[tuple[str, str]]) -> str:
        out = ""
        for part in reversed(pattern):  # from the end, because "a" or "an" depends on what follows
            if isinstance(part, str):
                out = part + out
                continue
            name, index = part
            if name == "article":
                out = article(out.lstrip()) + out
                continue
            kind, chinese = words[index]
            entry = BEST[kind][chinese]
            out = (entry.prep if name == "prep" else entry.en) + out
        return out

    @staticmethod
    def _chinese(segments: tuple[Segment, ...]) -> tuple[Pattern, list[tuple[str, str]]]:
        pattern: list[str | tuple[str, int]] = []
        words: list[tuple[str, str]] = []
        for segment in segments:
            word = word_of(segment)
            if word is not None:
                pattern.append((word[0], 0))
                words.append(word)
            elif segment[1] not in ("measure", "loc"):
                pattern.append(segment[0])
        return tuple(pattern), words

    @staticmethod
    def _english(segments: tuple[Segment, ...], words: list[tuple[str, str]]) -> Pattern | None:
        pattern: list[str | tuple[str, int]] = []
        for segment in segments:
            text, label, key = segment
            if label == "the":  # part of the place's name
                continue
            if label == "article":
                pattern.append(("article", 0))
                continue
            word = ("PLACE", lexicon.PLACES[key].zh) if label == "prep" else word_of(segment)
            if word is None:
                pattern.append(text if pattern else text[0].lower() + text[1:])
            elif word not in words:
                return None  # the Chinese sentence does not say it
            else:
                pattern.append(("prep" if label == "prep" else word[0], words.index(word)))
        return tuple(pattern)
