"""Four objectives, one corpus, one number of parameters, one budget of CPU: what does each model learn? (Chapter 06.)

    python benchmarks/bench_objectives.py            # 16 CPU seconds for each training: about 5 minutes; one thread
    python benchmarks/bench_objectives.py --budget 2 --seeds 0 --output /dev/null    # to try it

A GPT, a BERT, an XLNet and a T5 with the parts of the course's recipe, as far as their objective allows, learn from the
same stories of a small Storyworld, in the same order. First the seconds of a step are measured, all models in turn; the
number of steps follows from them, so that each spends the same CPU seconds. Then all answer the same questions about
new stories.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib.data.batches import LengthBatches, PaddedBatch, pad_batch
from course_lib.data.storyworld import Storyworld
from course_lib.data.storyworld.lexicon import NAMES, PLACES, THINGS
from course_lib.data.storyworld.story import Story
from course_lib.data.storyworld.world import LEVELS
from course_lib.data.tokenizers import BytePairTokenizer
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder import BERT, recipe_config
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import Config
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.objectives.causal import LossSum, causal_loss
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.masked import masked_loss
from course_lib.objectives.permutation import order_mask, permutation_batch, permutation_loss
from course_lib.objectives.spans import span_batch
from course_lib.objectives.translation import translation_loss
from course_lib.runtime import seed_everything, set_threads
from course_lib.training.loop import train
from course_lib.training.optimisers import muon_and_adamw
from course_lib.training.pretrain import CLS, MASK, PAD, SEP, hide_words, text_rows
from course_lib.training.schedules import linear_decay

WIDTH, LAYERS, HEADS, LENGTH, ROWS = 64, 2, 4, 80, 48
SPAN = 2.0  # T5 takes 3; in a story of 40 tokens that would be two spans, one of them always at its end
SENTINELS = [f"<{letter}>" for letter in "XYZUVW"]
MODELS = ("GPT", "BERT", "XLNet", "T5")
RATES = {"lr": 0.02, "adamw_lr": 0.02, "momentum": 0.85}
KINDS = "begin find_new go go_together meet give take put_down pick_up fetch end"
LEVEL = LEVELS["easy"]._replace(names=8, things=8, places=6, adjective=0.0, kinds=tuple(KINDS.split()), middle=(2, 4))
WORDS = {
    "PERSON": [name.en for name in NAMES[: LEVEL.names]],
    "PLACE": [place.en.removeprefix("the ") for place in PLACES[: LEVEL.places]],
    "THING": [thing.en for thing in THINGS[: LEVEL.things]],
}
GROUPS = ("nowhere else", "only after it", "only before it", "on both sides")


# --- models and what they are trained on -----------------------------------------------------------------------------


def new_model(name: str, vocabulary: int) -> nn.Module:
    """All have the same parts where they can, and about the same number of parameters."""
    sizes: dict[str, Any] = {"context": LENGTH, "layers": LAYERS, "heads": HEADS, "width": WIDTH, "rotary_base": 100.0}
    usual = {part.name: part.default for part in fields(Config)} | {"tied": True}
    recipe: dict[str, Any] = {
        name: usual[name] for name in ("norm", "feedforward", "block", "bias", "tied", "zero_init", "logit_cap")
    }
    if name == "GPT":
        return GPT(GPTConfig(vocabulary, tied=True, **sizes))
    if name == "BERT":
        return BERT(recipe_config(vocabulary, tied=True, **sizes))
    if name == "XLNet":  # one more matrix in each block, for the distances: so F is smaller
        return XLNet(XLNetConfig(vocabulary, hidden=WIDTH * 7 // 2, dropout=0.0, **sizes, **recipe))
    rest = {"layers": LAYERS // 2, "positions": "rotary", "qk_norm": True, "dropout": 0.0}  # layers of each half
    config = TransformerConfig(vocabulary, hidden=3 * WIDTH, embedding_scale=1.0, **(sizes | recipe | rest))
    t5 = Transformer(config)
    nn.init.normal_(t5.embedding.weight, std=0.02)  # as the embeddings of the others
    return t5


def used_parameters(model: nn.Module) -> int:
    """Without BERT's pooler, which has no part in its objective."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("pooler"))


def source_of(name: str, rows: PaddedBatch, tokenizer: BytePairTokenizer, seed: int) -> Any:
    batches = LengthBatches(rows, ROWS, seed, real="mask")
    special = tokenizer.special_ids
    sentinels = [special[sentinel] for sentinel in SENTINELS]

    def spans(batch: PaddedBatch, generator: torch.Generator) -> Any:
        texts = [ids[real][1:-1] for ids, real in zip(batch.ids, batch.mask, strict=True)]
        ends = {"begin_id": special[PAD], "end_id": special[SEP]}
        return span_batch(texts, sentinel_ids=sentinels, mean_length=SPAN, generator=generator, **ends)

    corrupt: dict[str, Callable[[PaddedBatch, torch.Generator], Any]] = {
        "BERT": partial(hide_words, tokenizer),
        "XLNet": lambda batch, generator: permutation_batch(batch.ids, batch.mask, generator=generator),
        "T5": spans,
    }
    return batches if name == "GPT" else Corrupted(batches, corrupt[name], seed)


def next_loss(model: nn.Module, batch: PaddedBatch) -> LossSum:
    return causal_loss(model, (batch.ids, batch.targets))


LOSSES: dict[str, Callable[[nn.Module, Any], LossSum]] = {
    "GPT": next_loss,
    "BERT": masked_loss,
    "XLNet": permutation_loss,
    "T5": translation_loss,
}


def trained(name: str, rows: PaddedBatch, tokenizer: BytePairTokenizer, seed: int, steps: int) -> nn.Module:
    seed_everything(seed)
    model = new_model(name, tokenizer.vocab_size)
    batches, optimisers = source_of(name, rows, tokenizer, seed), muon_and_adamw(model, **RATES)
    train(model, batches, LOSSES[name], optimisers, steps=steps, schedule=linear_decay())
    return model.eval()


# --- questions about new stories -------------------------------------------------------------------------------------


class Hidden(NamedTuple):
    """One word of a story: its token stands at ``at`` of the row, and could be any of ``words``."""

    row: int
    at: int
    kind: str
    words: list[str]
    true: int
    group: str
    best: list[float]  # the logarithm of the probability of the whole story with each of the words
    said: set[str]  # what else of its kind is named in the story
    text: str  # the story with ___ in its place


def offsets(tokenizer: BytePairTokenizer, text: str) -> list[tuple[int, int]]:
    """Where each token starts and ends, in characters."""
    ends = list(accumulate(map(len, tokenizer.tokens(text))))
    return list(zip([0, *ends], ends, strict=False))


def log_prob(world: Storyworld, text: str) -> float:
    try:
        return world.log_prob(text)
    except ValueError:
        return -torch.inf


def hidden_words(world: Storyworld, stories: list[Story], tokenizer: BytePairTokenizer) -> Iterator[Hidden]:
    """Every name, place and thing that is one token."""
    words = {kind: [w for w in known if len(tokenizer.encode(" " + w)) == 1] for kind, known in WORDS.items()}
    for row, story in enumerate(stories):
        mentions = story.entities()
        place = {end: at for at, (_, end) in enumerate(offsets(tokenizer, story.en))}
        for i, named in enumerate(mentions):
            word, known = story.en[named.start : named.end], words[named.label]
            if word not in known:
                continue
            before = any(other.who == named.who for other in mentions[:i])
            after = any(other.who == named.who for other in mentions[i + 1 :])
            texts = [story.en[: named.start] + other + story.en[named.end :] for other in known]
            best = [log_prob(world, text) for text in texts]
            at, group = 1 + place[named.end], GROUPS[2 * before + after]
            said = {story.en[m.start : m.end] for m in mentions if m.label == named.label} - {word}
            text = story.en[: named.start] + "___" + story.en[named.end :]
            yield Hidden(row, at, named.label, known, known.index(word), group, best, said, text)


def ids_of(words: list[str], tokenizer: BytePairTokenizer) -> Tensor:
    return torch.tensor([tokenizer.encode(" " + word)[0] for word in words])


def fill(name: str, model: Any, batch: PaddedBatch, at: Tensor, special: dict[str, int]) -> Tensor:
    """Logits (B, V) of the tokens at ``at`` (B,), from all others of their rows; for a GPT, from those before."""
    shown, rows = batch.ids.clone(), torch.arange(len(at))
    if name == "GPT":
        return model(batch.ids)[rows, at - 1]
    if name == "XLNet":
        elsewhere = torch.arange(shown.shape[1]) != at[:, None]
        mask = elsewhere[:, None, :].expand(-1, shown.shape[1], -1)
        return model(batch.ids, batch.mask, mask=mask, queries=at[:, None])[:, 0]
    if name == "T5":
        shown[rows, at] = special["<X>"]
        shown[rows, batch.mask.sum(dim=1) - 2] = special["<Y>"]  # its spans always take the end: the full stop goes
        target = torch.tensor([[special[PAD], special["<X>"]]]).expand(len(at), -1)
        return model(shown[:, 1:], target, batch.mask[:, 1:])[:, -1]
    shown[rows, at] = special[MASK]
    return model(shown, batch.mask)[rows, at]


def whole_text(model: Any, batch: PaddedBatch, at: Tensor, candidates: Tensor) -> Tensor:
    """For a GPT: the logarithm of the probability of each row with each of the candidates (C,) at ``at``: (B, C)."""
    scores = []
    for candidate in candidates:
        texts = batch.ids.scatter(1, at[:, None], candidate.expand(len(at), 1))
        nats = model(texts[:, :-1]).log_softmax(dim=-1).gather(-1, texts[:, 1:, None])[..., 0]
        scores.append((nats * batch.mask[:, 1:]).sum(dim=1))
    return torch.stack(scores, dim=1)


def scored(answers: list[tuple[Hidden, Tensor]]) -> dict[str, dict[str, float]]:
    """By group: share of right answers, nats, and the share of answers that are wrong but named in the story."""
    by_group: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for word, scores in answers:
        answer = int(scores.argmax())
        nats = -float(scores.log_softmax(dim=-1)[word.true])
        by_group[word.group].append((answer == word.true, nats, word.words[answer] in word.said))
    by_group["all"] = [answer for group in GROUPS for answer in by_group[group]]
    names = ("right", "nats", "wrong, but in the story")
    return {
        group: {
            name: statistics.mean(map(float, column))
            for name, column in zip(names, zip(*found, strict=True), strict=True)
        }
        for group, found in by_group.items()
        if found
    }


def rest_of_story(name: str, model: Any, ids: Tensor, half: int, special: dict[str, int]) -> Tensor:
    """Logits of the tokens from ``half`` to the end without [SEP], each from those before it."""
    asked = torch.arange(half, len(ids) - 1)
    if name == "GPT":
        return model(ids[None])[0, asked - 1]
    if name == "XLNet":
        order = order_mask(torch.arange(len(ids))[None], torch.tensor([half]))
        return model(ids[None], mask=order, queries=asked[None])[0]
    if name == "T5":
        source = torch.cat([ids[1:half], torch.tensor([special["<X>"], special[SEP]])])
        target = torch.cat([torch.tensor([special[PAD], special["<X>"]]), ids[asked[:-1]]])
        return model(source[None], target[None])[0, 1:]
    shown = ids.repeat(len(asked), 1)  # one row for each token: what comes before it, and a mask
    here = torch.arange(len(ids))
    shown[here == asked[:, None]] = special[MASK]
    return model(shown, here <= asked[:, None])[torch.arange(len(asked)), asked]


def vectors(name: str, model: Any, ids: Tensor) -> Tensor:
    """(T, D) after the last block that has read the text."""
    if name == "T5":
        read = model.encode(ids[None, 1:])[0]
        return torch.cat([read[:1], read])  # the first row stands for [CLS], and nobody asks for it
    return model.hidden(ids[None])[0]


def tags(story: Story, tokenizer: BytePairTokenizer) -> Iterator[tuple[str, int, int, str]]:
    """(question, place in the row of the sentence's first token, of its full stop, tag)."""
    spans, starts = offsets(tokenizer, story.en), story.starts()
    for start, sentence in list(zip(starts, story.sentences, strict=True))[2:]:
        first = next(at for at, (_, end) in enumerate(spans) if end > start)
        last = next(at for at, (_, end) in enumerate(spans) if end == start + len(sentence.en))
        yield "what happens", 1 + first, 1 + last, sentence.events[0]
        if len(sentence.state.items) == 1:
            yield "who has it", 1 + last, 1 + last, ("hero", "other", "nobody")[sentence.state.holder[0]]


def probe(train_set: tuple[Tensor, list[str]], test_set: tuple[Tensor, list[str]]) -> float:
    """Share of right tags of a linear map from vectors to tags, by least squares."""
    names = sorted(set(train_set[1]))
    x, y = (torch.cat([v, torch.ones(len(v), 1)], dim=1) for v in (train_set[0], test_set[0]))
    one_hot = torch.tensor([[float(tag == name) for name in names] for tag in train_set[1]])
    weights = torch.linalg.lstsq(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ one_hot).solution
    guesses = [names[i] for i in (y @ weights).argmax(dim=1)]
    return statistics.mean(float(guess == tag) for guess, tag in zip(guesses, test_set[1], strict=True))


def probed(name: str, model: Any, rows: list[Tensor], stories: list[Story], tokenizer: BytePairTokenizer) -> dict:
    """The first two thirds of the stories are for the probe to learn from."""
    found: dict[tuple[str, bool], list[tuple[Tensor, str]]] = defaultdict(list)
    for number, (ids, story) in enumerate(zip(rows, stories, strict=True)):
        read = vectors(name, model, ids)
        for question, first, last, tag in tags(story, tokenizer):
            testing = number >= len(stories) * 2 // 3
            found[question, testing].append((read[first], tag))
            if question == "what happens":
                found["what happened, at the full stop", testing].append((read[last], tag))
    sets = {key: (torch.stack([v for v, _ in rows]), [tag for _, tag in rows]) for key, rows in found.items()}
    return {
        question: probe(sets[question, False], sets[question, True]) for question in dict.fromkeys(q for q, _ in sets)
    }


# --- all of it -------------------------------------------------------------------------------------------------------


def steps_for(budget: float, rows: PaddedBatch, tokenizer: BytePairTokenizer, rounds: int) -> dict[str, int]:
    """How many steps each model can make in so many CPU seconds: the median of some rounds, all in turn."""
    seconds: dict[str, list[float]] = defaultdict(list)
    parts = {}
    for name in MODELS:
        model = new_model(name, tokenizer.vocab_size)
        parts[name] = model, source_of(name, rows, tokenizer, 0), muon_and_adamw(model, **RATES)
    for _ in range(rounds):
        for name, (model, batches, optimisers) in parts.items():
            start = time.process_time()
            train(model, batches, LOSSES[name], optimisers, steps=4)
            seconds[name].append((time.process_time() - start) / 4)
    return {name: int(budget / statistics.median(found)) for name, found in seconds.items()}


@torch.no_grad()
def questioned(name: str, model: nn.Module, exam: Any) -> tuple[dict[str, Any], dict[str, list[tuple[Hidden, Tensor]]]]:
    tokenizer, stories, rows, hidden = exam
    special = tokenizer.special_ids
    answers: dict[str, list[tuple[Hidden, Tensor]]] = defaultdict(list)
    for kind in WORDS:
        words = [word for word in hidden if word.kind == kind]
        candidates = ids_of(words[0].words, tokenizer)
        for start in range(0, len(words), 64):
            part = words[start : start + 64]
            batch = pad_batch([rows[word.row] for word in part], special[PAD])
            at = torch.tensor([word.at for word in part])
            scores = fill(name, model, batch, at, special)[:, candidates]
            answers[f"{name}, from the left" if name == "GPT" else name] += zip(part, scores, strict=True)
            if name == "GPT":
                answers["GPT, whole text"] += zip(part, whole_text(model, batch, at, candidates), strict=True)
    nats = []
    for ids in rows[:100]:
        half = len(ids) // 2
        logits = rest_of_story(name, model, ids, half, special)
        nats += nn.functional.cross_entropy(logits, ids[half:-1], reduction="none").tolist()
    results = {
        "fill": {way: scored(found) for way, found in answers.items()},
        "rest": statistics.mean(nats),
        "probes": probed(name, model, rows, stories, tokenizer),
    }
    return results, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=16, help="CPU seconds for each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stories", type=int, default=20_000)
    parser.add_argument("--new", type=int, default=240, help="stories to ask about")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("objectives.json"))
    options = parser.parse_args()
    set_threads(1)

    world = Storyworld(LEVEL)
    texts = [story.en for story in islice(world.stories("train", seed=0), options.stories)]
    tokenizer = BytePairTokenizer.train(texts[:3000], 1000, special_tokens=[PAD, CLS, SEP, MASK, *SENTINELS])
    rows = text_rows(texts, tokenizer, LENGTH)
    stories = list(islice(world.stories("train", seed=1), options.new))
    new_rows = [
        row[row != tokenizer.special_ids[PAD]] for row in text_rows([s.en for s in stories], tokenizer, LENGTH).ids
    ]
    hidden = list(hidden_words(world, stories[: options.new // 3], tokenizer))
    shown = [word for group in GROUPS for word in [w for w in hidden if w.group == group][:30:10]][:10]
    exam = tokenizer, stories, new_rows, hidden
    steps = steps_for(options.budget, rows, tokenizer, rounds=8)
    fresh = {name: new_model(name, tokenizer.vocab_size) for name in MODELS}
    with torch.no_grad():
        untrained = probed("BERT", fresh["BERT"], new_rows, stories, tokenizer)
    facts: dict[str, Any] = {
        "command": "python benchmarks/bench_objectives.py",
        "budget": options.budget,
        "seeds": [],
        "hidden_words": {group: sum(word.group == group for word in hidden) for group in GROUPS},
        "best_possible": rounded(scored([(word, torch.tensor(word.best)) for word in hidden])),
        "untrained": rounded(untrained),
        "models": {
            name: {"parameters": used_parameters(fresh[name]), "steps": steps[name], "cpu_seconds": [], "results": []}
            for name in MODELS
        },
        "examples": [{"text": w.text, "true": w.words[w.true], "group": w.group, "answers": {}} for w in shown],
    }
    for example, word in zip(facts["examples"], shown, strict=True):
        example["answers"]["the best possible"] = word.words[int(torch.tensor(word.best).argmax())]
    for seed in options.seeds:
        for name in MODELS:
            start = time.process_time()
            model = trained(name, rows, tokenizer, seed, steps[name])
            facts["models"][name]["cpu_seconds"].append(round(time.process_time() - start, 1))
            results, answers = questioned(name, model, exam)
            facts["models"][name]["results"].append(rounded(results))
            if seed == options.seeds[0]:
                for way, found in answers.items():
                    said = {(word.row, word.at): word.words[int(scores.argmax())] for word, scores in found}
                    for example, word in zip(facts["examples"], shown, strict=True):
                        example["answers"][way] = said[word.row, word.at]
            print(
                seed, name, facts["models"][name]["cpu_seconds"][-1], facts["models"][name]["results"][-1], flush=True
            )
        facts["seeds"].append(seed)
        options.output.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, 4)


if __name__ == "__main__":
    main()
