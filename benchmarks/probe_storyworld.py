"""How hard is Storyworld, and how good? Measures the corpus on this machine; the figures stand in benchmarks/README.md.

    python benchmarks/probe_storyworld.py                 every part, about ten minutes on two cores
    python benchmarks/probe_storyworld.py text            speed, word types, repetition
    python benchmarks/probe_storyworld.py model-easy      a small GPT against the entropy, 90 s
    python benchmarks/probe_storyworld.py model-full      the same at the full level
    python benchmarks/probe_storyworld.py translation     the ceiling of translation, and a dictionary
    python benchmarks/probe_storyworld.py tagging         100 labelled sentences, a look-up against a BiLSTM
    python benchmarks/probe_storyworld.py questions       yield, shortcuts, guessing

Nothing but ``course_lib.data`` is used from the course, so that the figures say something about the data.
"""

import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from course_lib.data.storyworld import Sentence, Story, Storyworld
from course_lib.data.storyworld.checks import repetition, unseen_sentences
from course_lib.data.storyworld.questions import questions, shortcut_answers
from course_lib.data.storyworld.translation import BestTranslator
from course_lib.data.storyworld.world import Split

SECONDS = (30, 60, 90)  # of CPU, when the language model is looked at


def take(world: Storyworld, split: Split, seed: int, count: int) -> list[Story]:
    return list(islice(world.stories(split, seed), count))


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z][A-Za-z'-]*|[.,:]", text)


def per_cent(share: float) -> str:
    return f"{100 * share:.1f}%"


# ---------------------------------------------------------------- speed, words, repetition


def text() -> None:
    for level in ("easy", "full"):
        world = Storyworld(level)
        world.story(0)  # fills the caches
        start, size, count = time.process_time(), 0, 0
        types: Counter[str] = Counter()
        stories = world.stories("train", 1)
        while size < 1_000_000:
            story = next(stories)
            size, count = size + len(story.en), count + 1
        seconds = time.process_time() - start
        for story in take(world, "train", 1, count):
            types.update(word.lower() for word in words(story.en))
        print(
            f"{level}: 1 MB of English (and its Chinese) in {seconds:.2f} s of CPU, {count} stories, "
            f"{size / count:.0f} characters each, {len(types)} word types"
        )
        for sentences in (20_000, 100_000):
            needed = int(sentences * count / sum(len(s.sentences) for s in take(world, "train", 1, count)))
            found = repetition(islice(world.stories("train", 2), needed))
            print(
                f"  {found.sentences} sentences: {found.distinct_pairs} distinct pairs ({per_cent(found.share_new)}), "
                f"{found.distinct_en} English, {found.distinct_zh} Chinese"
            )


# ---------------------------------------------------------------- a language model against the entropy


class SmallGPT(nn.Module):
    """Three layers of PyTorch's own encoder behind a causal mask, about 0.45 million parameters, tied embeddings."""

    def __init__(self, vocabulary: int, width: int = 96, layers: int = 3, longest: int = 320) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(width, 6, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions.weight, std=0.05)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.tokens(ids) + self.positions.weight[:length]
        return self.blocks(x, mask=mask, is_causal=True) @ self.tokens.weight.T


def model(level: str) -> None:
    world = Storyworld(level)  # type: ignore[arg-type]
    train, test = take(world, "train", 1, 12_000 if level == "easy" else 8_000), take(world, "train", 2, 200)
    entropy = -sum(story.log_prob for story in test) / len(test)
    tokens = [words(story.en) for story in train]
    vocabulary = {"<end>": 0} | {
        word: k + 1 for k, word in enumerate(sorted({w for s in (*tokens, *(words(t.en) for t in test)) for w in s}))
    }

    def encode(story: list[str]) -> Tensor:
        return torch.tensor([0, *(vocabulary[word] for word in story), 0])

    data = sorted((encode(story) for story in tokens), key=len)  # neighbours are of a length: little padding
    torch.manual_seed(0)
    gpt = SmallGPT(len(vocabulary))
    optimiser = torch.optim.AdamW(gpt.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(0)

    def loss_of(batch: list[Tensor], reduction: str) -> Tensor:
        ids = pad_sequence(batch, batch_first=True, padding_value=-100)
        logits = gpt(ids[:, :-1].clamp(min=0))
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction=reduction)

    def evaluate() -> float:
        coded = sorted((encode(words(story.en)) for story in test), key=len)
        with torch.no_grad():
            return sum(loss_of(coded[i : i + 50], "sum").item() for i in range(0, len(coded), 50)) / len(coded)

    size = sum(p.numel() for p in gpt.parameters())
    print(f"{level}: {size / 1e6:.2f} M parameters, {len(vocabulary)} words, entropy {entropy:.2f} nats a story")
    batch, spent, steps, looks = 12 if level == "easy" else 4, 0.0, 0, list(SECONDS)
    while looks:
        start = time.process_time()
        for group in optimiser.param_groups:  # up for 2 s, then down to a tenth
            group["lr"] = 3e-3 * min(1.0, (spent + 0.1) / 2) * (1 - 0.95 * spent / SECONDS[-1])
        first = rng.randrange(len(data) - batch + 1)
        loss = loss_of(data[first : first + batch], "mean")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        optimiser.step()
        spent, steps = spent + time.process_time() - start, steps + 1
        if spent > looks[0]:
            above = per_cent(evaluate() / entropy - 1)
            print(f"  after {looks.pop(0)} s of CPU, {steps} steps: {above} above the entropy")


# ---------------------------------------------------------------- translation


class Dictionary:
    """Word for word: each Chinese word has the one English word with which it occurs most (Dice's coefficient)."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        together: defaultdict[str, Counter[str]] = defaultdict(Counter)
        zh_count: Counter[str] = Counter()
        en_count: Counter[str] = Counter()
        for sentence in sentences:
            zh = {segment[0] for segment in sentence.segments["zh"]}
            en = {segment[0].strip().lower() for segment in sentence.segments["en"]} - {""}
            zh_count.update(zh)
            en_count.update(en)
            for word in zh:
                together[word].update(en)
        self.words = {
            zh: max(found, key=lambda en: (2 * found[en] / (zh_count[zh] + en_count[en]), en))
            for zh, found in together.items()
        }
        self.longest = max(map(len, self.words))

    def translate(self, sentence: Sentence) -> str:
        out, at = [], 0
        while at < len(sentence.zh):
            for size in range(self.longest, 0, -1):
                word = sentence.zh[at : at + size]
                if word in self.words or size == 1:
                    out.append(self.words.get(word, ""))
                    at += size
                    break
        text = re.sub(r" +([.,])", r"\1", " ".join(filter(None, out)))
        return text[:1].upper() + text[1:]


def translation() -> None:
    try:
        from sacrebleu import corpus_bleu, corpus_chrf
    except ImportError:
        print("translation: needs sacreBLEU for the score: pip install sacrebleu")
        return
    for level, sizes in (("easy", (5_000,)), ("full", (5_000, 20_000))):
        world = Storyworld(level)  # type: ignore[arg-type]
        train = take(world, "train", 1, max(sizes))
        fresh = list(islice(unseen_sentences(take(world, "validation", 2, 1200), train), 2000))
        reference = [[sentence.en for sentence in fresh]]
        for count in sizes:
            translator = BestTranslator(sentence for story in train[:count] for sentence in story.sentences)
            guesses = [translator.translate(sentence) for sentence in fresh]
            report(f"{level}, ceiling from {count} stories", guesses, reference, corpus_bleu, corpus_chrf)
        dictionary = Dictionary(sentence for story in train[: sizes[0]] for sentence in story.sentences)
        report(f"{level}, word for word", [dictionary.translate(s) for s in fresh], reference, corpus_bleu, corpus_chrf)


def report(name: str, guesses: list[str | None], reference: list[list[str]], bleu: Callable, chrf: Callable) -> None:
    texts = [guess or "" for guess in guesses]
    exact = sum(a == b for a, b in zip(texts, reference[0], strict=True)) / len(texts)
    unknown = sum(guess is None for guess in guesses)
    print(
        f"{name}: BLEU {bleu(texts, reference).score:.1f}, chrF {chrf(texts, reference).score:.1f}, "
        f"{per_cent(exact)} word for word right, {unknown} of {len(texts)} unknown patterns"
    )


# ---------------------------------------------------------------- tagging

TAGS = ("O", *(f"{edge}-{label}" for label in ("PERSON", "PLACE", "THING") for edge in "BI"))


def tagged(sentence: Sentence) -> tuple[list[str], list[str]]:
    """Words, and for each its tag: B- where an entity begins, I- inside."""
    tokens, tags = [], []
    for match in re.finditer(r"[A-Za-z][A-Za-z-]*|'s|[.,:]", sentence.en):
        tag = "O"
        for span in sentence.entities():
            if span.start <= match.start() < span.end:
                tag = f"{'B' if match.start() == span.start else 'I'}-{span.label}"
        tokens.append(match[0])
        tags.append(tag)
    return tokens, tags


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    starts = [k for k, tag in enumerate(tags) if tag[0] == "B"]
    found = set()
    for start in starts:
        end = start + 1
        while end < len(tags) and tags[end] == f"I-{tags[start][2:]}":
            end += 1
        found.add((start, end, tags[start][2:]))
    return found


class Tagger(nn.Module):
    """A BiLSTM over words, their shape and their last letters, from scratch."""

    def __init__(self, vocabulary: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width + 4, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, len(TAGS))

    def forward(self, ids: Tensor, shape: Tensor) -> Tensor:
        return self.out(
            F.dropout(
                self.lstm(F.dropout(torch.cat([self.embed(ids), shape], -1), 0.3, self.training))[0], 0.3, self.training
            )
        )


def tagging(labels: int = 100, seconds: float = 60.0) -> None:
    world = Storyworld("full")
    rng = random.Random(1)
    lines = [sentence for story in take(world, "train", 1, 400) for sentence in story.sentences]
    labelled = [tagged(sentence) for sentence in rng.sample(lines, labels)]
    texts = {" ".join(tokens) for tokens, _ in labelled}
    test = [tagged(s) for s in unseen_sentences(take(world, "validation", 2, 200), take(world, "train", 3, 1))]
    test = [(tokens, tags) for tokens, tags in test if " ".join(tokens) not in texts][:2000]

    labels_of: defaultdict[str, set[str]] = defaultdict(set)
    for story in take(world, "train", 4, 3000):
        for sentence in story.sentences:
            for token, tag in zip(*tagged(sentence), strict=True):
                labels_of[token.lower()].add(tag[2:] if tag != "O" else "O")
    ambiguous = {word for word, found in labels_of.items() if len(found) > 1}
    entities = {" ".join(t[a:b]) for t, tags in labelled for a, b, _ in spans(tags)}

    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for tokens, tags in labelled:
        for token, tag in zip(tokens, tags, strict=True):
            votes[token][tag] += 1

    def look_up(tokens: list[str]) -> list[str]:
        # A word never seen: a capital inside a sentence says PERSON, after "in" or "to" PLACE, and "the …" THING.
        tags = []
        for before, token in pairwise(["", *tokens]):
            if token in votes:
                tags.append(votes[token].most_common(1)[0][0])
            elif token[0].isupper():
                tags.append("B-PLACE" if before in ("in", "to", "for") else "B-PERSON")
            else:
                tags.append("B-THING" if before in ("the", "a", "an") else "O")
        return tags

    vocabulary = {word: k + 1 for k, word in enumerate(sorted(votes))}

    def encode(tokens: list[str], drop: float = 0.0) -> tuple[Tensor, Tensor]:
        ids = [0 if rng.random() < drop else vocabulary.get(token, 0) for token in tokens]
        shape = [[t[0].isupper(), k == 0, t.endswith(("ed", "ly")), len(t) < 4] for k, t in enumerate(tokens)]
        return torch.tensor(ids), torch.tensor(shape, dtype=torch.float32)

    torch.manual_seed(0)
    tagger = Tagger(len(vocabulary) + 1)
    optimiser = torch.optim.AdamW(tagger.parameters(), 3e-3, weight_decay=0.05)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds and steps < 2000:
        batch = rng.sample(labelled, 16)
        coded = [encode(tokens, drop=0.2) for tokens, _ in batch]
        ids, shape = (pad_sequence([pair[i] for pair in coded], batch_first=True) for i in (0, 1))
        gold = pad_sequence(
            [torch.tensor([TAGS.index(t) for t in tags]) for _, tags in batch], batch_first=True, padding_value=-100
        )
        loss = F.cross_entropy(tagger(ids, shape).flatten(0, 1), gold.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    tagger.eval()

    def lstm(tokens: list[str]) -> list[str]:
        ids, shape = encode(tokens)
        with torch.no_grad():
            return [TAGS[k] for k in tagger(ids[None], shape[None])[0].argmax(-1).tolist()]

    print(f"{labels} labelled sentences, {len(test)} test sentences, {len(ambiguous)} ambiguous words, {steps} steps")
    for name, tagger_of in (("look-up", look_up), ("BiLSTM", lstm)):
        hits: Counter[str] = Counter()
        for tokens, gold_tags in test:
            true, guess = spans(gold_tags), spans(tagger_of(tokens))
            for kind, choose in (
                ("all", lambda a, b: True),
                ("ambiguous", lambda a, b: b - a == 1 and tokens[a].lower() in ambiguous),  # noqa: B023
                ("never labelled", lambda a, b: " ".join(tokens[a:b]) not in entities),  # noqa: B023
            ):
                g, p = ({s for s in found if choose(s[0], s[1])} for found in (true, guess))
                hits[kind + " right"] += len(g & p)
                hits[kind + " sum"] += len(g) + len(p)
        scores = (
            f"{kind} {100 * 2 * hits[kind + ' right'] / hits[kind + ' sum']:.1f}"
            for kind in ("all", "ambiguous", "never labelled")
        )
        print(f"  {name}: F1 {', '.join(scores)}")


# ---------------------------------------------------------------- questions


def ask(count: int = 2000) -> None:
    world = Storyworld("full")
    stories = take(world, "train", 1, count)
    for language in ("en", "zh"):
        kinds: Counter[str] = Counter()
        right: Counter[str] = Counter()
        answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        guesses = []
        for story in stories:
            for question in questions(story, language):
                kinds[question.kind] += 1
                label = question.answer_who[0]
                shortcuts = shortcut_answers(story, question.subject, label, language)
                for name, who in shortcuts.items():
                    right[name] += who == question.answer_who
                candidates = {m.who for m in story.entities(language) if m.label == label and m.who != question.subject}
                guesses.append((1 / len(candidates), 1 / len(candidates - set(shortcuts.values()))))
                answers[label][question.answer] += 1
        total = sum(kinds.values())
        print(f"{language}: {1000 * total / count:.0f} questions in 1000 stories ({dict(kinds)})")
        print(f"  shortcuts right: {dict(right)}")
        print(
            f"  a guess among all candidates {per_cent(sum(a for a, _ in guesses) / total)}, "
            f"among those that no shortcut gives {per_cent(sum(b for _, b in guesses) / total)}, "
            f"always the commonest answer {per_cent(sum(c.most_common(1)[0][1] for c in answers.values()) / total)}"
        )


PARTS: dict[str, Callable[[], None]] = {
    "text": text, "model-easy": lambda: model("easy"), "model-full": lambda: model("full"),
    "translation": translation, "tagging": tagging, "questions": ask,
}  # fmt: skip


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            sys.exit(f"part must be one of {', '.join(PARTS)}, not {name!r}")
    torch.set_num_threads(1)  # two threads are far slower as soon as anything else runs
    for name in chosen:
        start = time.perf_counter()
        print(f"## {name}", flush=True)
        PARTS[name]()
        print(f"   ({time.perf_counter() - start:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
