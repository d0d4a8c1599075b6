"""How well could anybody translate Storyworld, sentence by sentence? The ceiling that a perfect translator reaches.

One Chinese sentence has several English ones: the subject may be dropped, *the*, *a* and *it* leave no trace, several English forms
share a Chinese one. A translator who knew everything about Storyworld except the author's choices would give the likeliest English
sentence. :class:`BestTranslator` does that: it sees the analysis of the Chinese sentence, and knows from counting how each Chinese
pattern is said in English.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.grammar import LISTS, Segment, article, capitalised
from course_lib.data.storyworld.story import Sentence

Pattern = tuple[str | tuple[str, int], ...]

PAIRS: dict[str, list[tuple[str, str]]] = {
    "PERSON": [(x.en, x.zh) for x in lexicon.NAMES],
    "PLACE": [(x.en.removeprefix("the "), x.zh) for x in lexicon.PLACES],
    "noun": [(x.en, x.zh) for x in lexicon.THINGS],
    "toy": [(x.en, x.zh) for x in lexicon.TOY_NAMES],
    "adjective": [(x.en, x.zh) for x in lexicon.ADJECTIVES],
} | {name: [(x.en, x.zh) for x in pairs] for name, pairs in LISTS.items()}
TO_ENGLISH: dict[str, dict[str, str]] = {
    label: {zh: en for en, zh in reversed(pairs)} for label, pairs in PAIRS.items()  # the most frequent English word wins
}
TO_CHINESE: dict[str, dict[str, str]] = {label: dict(pairs) for label, pairs in PAIRS.items()}
PLACE_OF = {place.en.removeprefix("the "): place for place in lexicon.PLACES}


def word_class(segment: Segment) -> str | None:
    text, label, key = segment
    if label == "THING":
        return key[0]  # type: ignore[index]
    return label if label in PAIRS else None


class BestTranslator:
    """Chinese to English, one sentence at a time, from the counts of many stories' sentences.

        translator = BestTranslator(sentence for story in islice(world.stories(), 5000) for sentence in story.sentences)
        translator.translate(sentence)      # reads sentence.zh's analysis only

    The more sentences it has counted, the nearer it is to the true ceiling; at 50,000 it has settled (see benchmarks/).
    """

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        counts: defaultdict[Pattern, Counter[Pattern]] = defaultdict(Counter)
        for sentence in sentences:
            zh, words = self._chinese(sentence)
            en = self._english(sentence, words)
            if en is not None:
                counts[zh][en] += 1
        self.best = {zh: max(found.items(), key=lambda item: (item[1], str(item[0])))[0] for zh, found in counts.items()}

    def translate(self, sentence: Sentence) -> str | None:
        """The likeliest English sentence, or None for a pattern never counted."""
        zh, words = self._chinese(sentence)
        if zh not in self.best:
            return None
        out = ""
        for part in reversed(self.best[zh]):  # from the end, because "a" or "an" depends on what follows
            if isinstance(part, str):
                out = part + out
                continue
            name, index = part
            if name == "article":
                out = article(out.lstrip()) + out
                continue
            english = TO_ENGLISH[words[index][0]][words[index][1]]
            if name == "prep":
                english = PLACE_OF[english].prep
            elif name == "the":
                english = "the " if PLACE_OF[english].en.startswith("the ") else ""
            out = english + out
        return capitalised(out)

    @staticmethod
    def _chinese(sentence: Sentence) -> tuple[Pattern, list[tuple[str, str]]]:
        pattern: list[str | tuple[str, int]] = []
        words: list[tuple[str, str]] = []
        for segment in sentence.segments["zh"]:
            kind = word_class(segment)
            if kind is not None:
                pattern.append((kind, 0))
                words.append((kind, segment[0]))
            elif segment[1] not in ("measure", "loc"):
                pattern.append(segment[0])
        return tuple(pattern), words

    @staticmethod
    def _english(sentence: Sentence, words: list[tuple[str, str]]) -> Pattern | None:
        pattern: list[str | tuple[str, int]] = []
        segments = sentence.segments["en"]
        waiting = []  # "in", "the": they belong to the place that follows
        for segment in segments:
            text, label, _ = segment
            if label in ("prep", "the"):
                waiting.append((len(pattern), label))
                pattern.append(text)
                continue
            if label == "article":
                pattern.append(("article", 0))
                continue
            kind = word_class(segment)
            if kind is None:
                pattern.append(text[0].lower() + text[1:] if not pattern else text)
                continue
            source = text if text in TO_CHINESE[kind] else text[0].lower() + text[1:]
            word = (kind, TO_CHINESE[kind][source])
            if word not in words:
                return None  # the Chinese sentence does not say it
            index = words.index(word)
            if kind == "PLACE":
                for at, name in waiting:
                    pattern[at] = (name, index)
                waiting = []
                if (at := len(pattern) - 1) >= 0 and pattern[at] == " " and isinstance(pattern[at - 1], tuple):
                    pattern.append(("the", index)) if not PLACE_OF[source].en.startswith("the ") else None
            pattern.append((kind, index))
        return tuple(pattern)
