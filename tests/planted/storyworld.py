"""Bugs in the storyworld: stories, their ground truth and their probability."""

from tests.planted.planting import Bug

WORLD = ("tests/data/test_storyworld.py",)
TRUTH = ("tests/data/test_storyworld_truth.py",)

BUGS = [
    Bug(
        "a held-out thing can join the cast",
        "course_lib/data/storyworld/world.py",
        "        for name in state.names:\n            excluded |= self._banned_nouns[split][name]\n",
        "",
        WORLD,
    ),
    Bug(
        "a held-out person can join the cast",
        "course_lib/data/storyworld/world.py",
        "            excluded |= self._banned_names[split][noun]\n",
        "",
        WORLD,
    ),
    Bug(
        "she is called he",
        "course_lib/data/storyworld/grammar.py",
        '"he": {"f": "she", "m": "he"}, "him": {"f": "her", "m": "him"}',
        '"he": {"f": "he", "m": "she"}, "him": {"f": "her", "m": "him"}',
        WORLD,
    ),
    Bug(
        "她 is written 他",
        "course_lib/data/storyworld/grammar.py",
        '"他": {"f": "她", "m": "他"}',
        '"他": {"f": "他", "m": "他"}',
        WORLD,
    ),
    Bug(
        "the thief is angry and not the victim",
        "course_lib/data/storyworld/events.py",
        'Kind("take", 14, "B:here t:Bs", "t>A", "B:angry"',
        'Kind("take", 14, "B:here t:Bs", "t>A", "A:angry"',
        TRUTH,
    ),
    Bug(
        "a lent thing stays on the ground",
        "course_lib/data/storyworld/events.py",
        'Kind("lend", 12, "t:held B:here", "t>B"',
        'Kind("lend", 12, "t:held B:here", "t>h"',
        TRUTH,
    ),
    Bug(
        "the scorer forgets who was chosen",
        "course_lib/data/storyworld/scorer.py",
        "total = kind_p * candidate_p * form_p * p * self",
        "total = kind_p * form_p * p * self",
        TRUTH,
    ),
    Bug(
        "the scorer forgets that no second clause came",
        "course_lib/data/storyworld/scorer.py",
        "yield end + len(self.stop), after, total * (1 - level.chain), closing",
        "yield end + len(self.stop), after, total, closing",
        TRUTH,
    ),
    Bug(
        "stories end too late",
        "course_lib/data/storyworld/world.py",
        "1 / (high - step + 1)",
        "1 / (high - step + 2)",
        WORLD,
    ),
    Bug(
        "words from lists cost nothing",
        "course_lib/data/storyworld/world.py",
        "log += math.log(self.tables[table].probability(e.lists[name]))",
        "pass",
        TRUTH,
    ),
    Bug(
        "bare names add up to more than one",
        "course_lib/data/storyworld/world.py",
        "return CAST_TOPIC * cast.count(topic) / len(cast) + (1 - CAST_TOPIC) * p",
        "return CAST_TOPIC * cast.count(topic) / len(cast) + p",
        TRUTH,
    ),
    Bug(
        "spans end one character early",
        "course_lib/data/storyworld/story.py",
        "found.append(Entity(offset, offset + len(text), label, (label, key)))",
        "found.append(Entity(offset, offset + len(text) - 1, label, (label, key)))",
        WORLD,
    ),
    Bug(
        "Chinese sentences are counted with a space",
        "course_lib/data/storyworld/story.py",
        'position += len(getattr(sentence, language)) + (language == "en")',
        "position += len(getattr(sentence, language)) + 1",
        WORLD,
    ),
    Bug(
        "what is put down stays in the hand",
        "course_lib/data/storyworld/state.py",
        "                self.holder[who], self.lies[who] = -1, to\n",
        "                self.lies[who] = to\n",
        TRUTH,
    ),
    Bug(
        "a shortcut answers a question",
        "course_lib/data/storyworld/questions.py",
        "if answer in shortcuts or answer not in candidates or len(candidates - shortcuts) < 2:",
        "if answer not in candidates or len(candidates - shortcuts) < 2:",
        WORLD,
    ),
    Bug(
        "stories differ from process to process",
        "course_lib/data/storyworld/world.py",
        "rng = random.Random(seed * len(SPLITS) + SPLITS.index(split)).random",
        "rng = random.Random(hash((str(seed), split))).random",
        WORLD,
    ),
    Bug(
        "a test sentence stands in training in Chinese",
        "course_lib/data/storyworld/checks.py",
        "if sentence.en not in seen and sentence.zh not in seen:",
        "if sentence.en not in seen:",
        WORLD,
    ),
    Bug(
        "the ceiling takes the rarest translation",
        "course_lib/data/storyworld/translation.py",
        "max(found.items(), key=",
        "min(found.items(), key=",
        WORLD,
    ),
    Bug(
        "a text may have no probability",
        "course_lib/data/storyworld/scorer.py",
        "        if not probability:\n",
        "        if probability < 0:\n",
        TRUTH,
    ),
]
