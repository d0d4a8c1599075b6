"""Questions about a story that only somebody who follows it can answer.

A question is offered only if *no shortcut* gives its answer: not the entity of the right type that was mentioned
last, first or most often, not the one nearest to what is asked about, not one from a sentence that mentions both. And
at least two candidates must be left when the shortcuts are crossed out, so that crossing out is no shortcut either.
(Chen, Bolton & Manning 2016 showed how far such shortcuts carry on a well-known reading test.)
"""

from collections import Counter
from typing import NamedTuple

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.state import State
from course_lib.data.storyworld.story import Entity, Story, thing_name

Who = tuple[str, object]


class Question(NamedTuple):
    """``story.text(language)[start:end] == answer``, in the sentence that settles the question if it names it."""

    kind: str  # "where_thing", "who_has", "where_person"
    text: str
    answer: str
    start: int
    end: int
    subject: Who
    answer_who: Who


TEMPLATES = {
    "where_thing": {"en": "Where is {}?", "zh": "{}在哪里？"},
    "who_has": {"en": "Who has {}?", "zh": "{}在谁手里？"},
    "where_person": {"en": "Where is {}?", "zh": "{}在哪里？"},
}


def thing_who(item: tuple[int, int | None, int | None]) -> Who:
    return ("THING", ("noun", item[0]) if item[2] is None else ("toy", item[2]))


def thing_title(item: tuple[int, int | None, int | None], language: str) -> str:
    """ "the kite" or "Pepper"; 风筝 or 胡椒."""
    if language == "zh":
        return lexicon.THINGS[item[0]].zh if item[2] is None else lexicon.TOY_NAMES[item[2]].zh
    return f"the {thing_name(item)}" if item[2] is None else thing_name(item)


def answers_of(state: State, language: str) -> list[tuple[str, str, Who, Who]]:
    """Everything that could be asked at this moment: kind, title of the subject, subject, answer."""
    found: list[tuple[str, str, Who, Who]] = []
    for k, item in enumerate(state.items):
        title, who = thing_title(item, language), thing_who(item)
        found.append(("where_thing", title, who, ("PLACE", state.place_of(k))))
        if state.holder[k] >= 0:
            found.append(("who_has", title, who, ("PERSON", state.names[state.holder[k]])))
    for k, name in enumerate(state.names):
        title = lexicon.NAMES[name].zh if language == "zh" else lexicon.NAMES[name].en
        found.append(("where_person", title, ("PERSON", name), ("PLACE", state.location[k])))
    return found


def shortcut_answers(story: Story, subject: Who, label: str, language: str = "en") -> dict[str, Who]:
    """What each shortcut would answer, from the mentions alone. ``subject`` is what is asked about, ``label`` the
    answer's type.
    """
    starts = story.starts(language)
    mentions = story.entities(language)
    right_type = [m for m in mentions if m.label == label and m.who != subject]
    if not right_type:
        return {}
    answers = {
        "last mentioned": right_type[-1].who,
        "first mentioned": right_type[0].who,
        "most often": Counter(m.who for m in right_type).most_common(1)[0][0],
    }
    about = [m for m in mentions if m.who == subject]
    if about:
        last = about[-1]
        answers["nearest"] = min(right_type, key=lambda m: min(abs(m.start - last.end), abs(last.start - m.end))).who
        before = [m for m in right_type if m.start < last.start]
        after = [m for m in right_type if m.start > last.start]
        if before:
            answers["just before"] = before[-1].who
        if after:
            answers["just after"] = after[0].who

        def sentence(m: Entity) -> int:
            return sum(start <= m.start for start in starts)

        shared = {sentence(m) for m in about} & {sentence(m) for m in right_type}
        if shared:
            together = [m.who for m in right_type if sentence(m) == max(shared)]
            answers["same sentence, first"], answers["same sentence, last"] = together[0], together[-1]
    return answers


def questions(story: Story, language: str = "en") -> list[Question]:
    """The questions about the end of the story which no shortcut answers. Most stories offer none, one or two."""
    final = story.sentences[-1].state
    mentions = story.entities(language)
    starts = story.starts(language)
    offered = []
    for kind, title, subject, answer in answers_of(final, language):
        candidates = {m.who for m in mentions if m.label == answer[0] and m.who != subject}
        shortcuts = set(shortcut_answers(story, subject, answer[0], language).values())
        if answer in shortcuts or answer not in candidates or len(candidates - shortcuts) < 2:
            continue
        span = answer_span(story, kind, subject, answer, mentions, starts, language)
        if span is not None:
            text = story.text(language)
            question = TEMPLATES[kind][language].format(title)
            offered.append(Question(kind, question, text[span.start : span.end], span.start, span.end, subject, answer))
    return offered


def answer_span(story, kind, subject, answer, mentions, starts, language) -> Entity | None:
    """The mention of the answer in the sentence since which it has been true, or the last one before."""
    since = len(story.sentences) - 1
    while since and (kind, subject, answer) in {
        (k, s, a) for k, _, s, a in answers_of(story.sentences[since - 1].state, language)
    }:
        since -= 1
    end = starts[since + 1] if since + 1 < len(starts) else len(story.text(language))
    spans = [m for m in mentions if m.who == answer and m.start < end]
    return spans[-1] if spans else None
