"""What is pretraining worth? The shipped encoder against the same model from scratch, by task and number of labels.

    python benchmarks/bench_fine_tuning.py                       # all tasks, three seeds; about 35 minutes of CPU
    python benchmarks/bench_fine_tuning.py tagging               # only this one

Writes fine_tuning.json: for each task, method, number of labels and seed, the scores on test sentences or stories that
stand nowhere in training. Chapter 07 draws it. A seed chooses the labelled examples, the new weights and the order.

Methods: ``scratch`` (all weights random), ``scratch, words hidden`` (the same, and in training three tokens in twenty
are hidden, so that it must learn to do without knowing a word), ``frozen`` (only the head learns), ``full``, ``LoRA``.
One thread. Learning rates, those from scratch too, were chosen on validation stories with seed 0, never on the test.
"""

import argparse
import copy
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.data.batches import LengthBatches
from course_lib.data.labels import spans_of, tags_of, token_offsets, words_in
from course_lib.data.storyworld import Sentence, Story, Storyworld
from course_lib.data.storyworld.checks import unseen_sentences
from course_lib.data.storyworld.questions import Question, questions
from course_lib.data.storyworld.story import ENTITY_LABELS
from course_lib.data.tokenizers import Tokenizer
from course_lib.models.encoder import BERT
from course_lib.models.heads import SpanExtractor, TokenClassifier
from course_lib.models.weights import load_shipped, load_with_tokenizer
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.masked import MASK
from course_lib.objectives.tasks import (
    LabelledBatch,
    question_rows,
    span_loss,
    tagging_loss,
    tagging_rows,
)
from course_lib.training.loop import train
from course_lib.training.lora import add_lora
from course_lib.training.optimisers import AdamW
from course_lib.training.schedules import linear_decay
from course_lib.using.evaluation import answer_f1, entity_f1, exact_match
from course_lib.using.prediction import predicted_answers, predicted_tags, true_tags

RESULTS = Path(__file__).with_name("fine_tuning.json")
TAGS = ["O", *(f"{edge}-{label}" for label in ENTITY_LABELS for edge in "BI")]
SIZES, QUESTIONS = (30, 100, 300, 1000), 2000


@dataclass(frozen=True)
class Method:
    """How a model is made and trained. ``longer``: so many times the steps, for one that begins with nothing."""

    lr: float
    pretrained: bool = True
    frozen: bool = False
    lora: int = 0  # its rank
    hidden_share: float = 0.0
    longer: float = 1.0


METHODS = {
    "scratch": Method(2e-3, pretrained=False, longer=1.5),
    "scratch, words hidden": Method(2e-3, pretrained=False, hidden_share=0.15, longer=1.5),
    "frozen": Method(3e-2, frozen=True),
    "full": Method(3e-3),
    "LoRA": Method(5e-3, lora=8),
}


def words_hidden(
    batch: LabelledBatch, generator: torch.Generator, *, special_ids: dict[str, int], share: float
) -> LabelledBatch:
    """Some tokens become the mask, anew each time: so a model learns what to do where it knows no word."""
    hidden = torch.rand(batch.ids.shape, generator=generator) < share
    hidden &= ~torch.isin(batch.ids, torch.tensor(list(special_ids.values())))
    return batch._replace(ids=batch.ids.masked_fill(hidden, special_ids[MASK]))


class Lab:
    """The encoder, its tokenizer, and training with one of the methods."""

    def __init__(self, folder: str | None) -> None:
        encoder, self.tokenizer = load_shipped("storyworld-encoder") if folder is None else load_with_tokenizer(folder)
        assert isinstance(encoder, BERT)
        self.encoder = encoder

    def fine_tuned(
        self,
        method: Method,
        head: Callable[[BERT], nn.Module],
        rows: LabelledBatch,
        loss: Any,
        *,
        steps: int,
        batch_size: int,
        seed: int,
    ) -> nn.Module:
        torch.manual_seed(seed)
        model = head(copy.deepcopy(self.encoder) if method.pretrained else BERT(self.encoder.config)).train()
        if method.frozen:
            model.body.requires_grad_(False)
        if method.lora:
            add_lora(model, rank=method.lora, alpha=16, targets=("qkv", "out", "up", "down"), also=("classifier",))
        batches: Any = LengthBatches(rows, batch_size, seed)
        if method.hidden_share:
            hide = partial(words_hidden, special_ids=self.tokenizer.special_ids, share=method.hidden_share)
            batches = Corrupted(batches, hide, seed)
        learning = [p for p in model.parameters() if p.requires_grad]
        steps = round(steps * method.longer)
        train(
            model,
            batches,
            loss,
            AdamW(learning, lr=method.lr, weight_decay=0.01),
            steps=steps,
            schedule=linear_decay(steps // 10),
        )
        return model.eval()


# --- names in sentences ----------------------------------------------------------------------------------------------


def ambiguous_words(world: Storyworld, stories: int = 1500) -> set[str]:
    """Words that are at one place of one kind and at another place of another, or of none: Rose and a rose."""
    kinds: dict[str, set[str]] = {}
    for story in islice(world.stories("train", seed=4), stories):
        for sentence in story.sentences:
            segments = ((text, label) for text, label, _ in sentence.segments["en"])
            for text, label in segments:
                inside = label if label in ENTITY_LABELS else "O"
                for word in text.split() if inside == "O" else [text]:
                    kinds.setdefault(word.strip(".,").lower(), set()).add(inside)
    return {word for word, found in kinds.items() if len(found) > 1}


def only(texts: list[str], tags: list[list[str]], tokenizer: Tokenizer, kept_texts: set[str]) -> list[list[str]]:
    """The tags without the entities that have another text, in small letters, than these."""
    kept = []
    for text, row in zip(texts, tags, strict=True):
        places = words_in(text, token_offsets(tokenizer, tokenizer.encode(text))).places
        spans = [span for span in spans_of(row, places) if text[span.start : span.end].lower() in kept_texts]
        kept.append(tags_of(spans, places))
    return kept


def tagging(lab: Lab, seeds: int) -> Iterator[dict[str, Any]]:
    world = Storyworld("full")
    train_stories = list(islice(world.stories("train", seed=1), 400))
    lines = list({s.en: s for story in train_stories for s in story.sentences}.values())
    fresh = list(unseen_sentences(islice(world.stories("test", seed=2), 120), train_stories))
    ambiguous = ambiguous_words(world)

    def rows_of(sentences: list[Sentence]) -> LabelledBatch:
        spans = [[entity[:3] for entity in sentence.entities()] for sentence in sentences]
        return tagging_rows([sentence.en for sentence in sentences], spans, TAGS, lab.tokenizer)

    test, texts = rows_of(fresh), [sentence.en for sentence in fresh]
    true = true_tags(test, TAGS)
    for seed in range(seeds):
        order = random.Random(seed).sample(lines, max(SIZES))
        for size in SIZES:
            labelled = order[:size]
            named = {s.en[e.start : e.end].lower() for s in labelled for e in s.entities()}
            for name, method in METHODS.items():
                model = lab.fine_tuned(
                    method,
                    lambda body: TokenClassifier(body, len(TAGS)),
                    rows_of(labelled),
                    tagging_loss,
                    steps={30: 100, 100: 150, 300: 200, 1000: 300}[size],
                    batch_size=16,
                    seed=seed,
                )
                said = predicted_tags(model, test, TAGS)
                row = {"method": name, "labels": size, "seed": seed, "f1": entity_f1(true, said)}
                new = {s.en[e.start : e.end].lower() for s in fresh for e in s.entities()} - named
                for kind, kept in {"ambiguous": ambiguous, "never labelled": new}.items():
                    both = (only(texts, tags, lab.tokenizer, kept) for tags in (true, said))
                    row[kind] = entity_f1(*both)
                yield row


# --- questions -------------------------------------------------------------------------------------------------------


def asked(world: Storyworld, split: Any, seed: int, number: int) -> list[tuple[Story, Question]]:
    """Questions that no shortcut answers, from as many stories as it takes."""
    every = ((story, question) for story in world.stories(split, seed) for question in questions(story))
    return list(islice(every, number))


def answering(lab: Lab, seeds: int) -> Iterator[dict[str, Any]]:
    world = Storyworld("full")
    learned, fresh = asked(world, "train", 1, QUESTIONS), asked(world, "test", 2, 400)

    def rows_of(some: list[tuple[Story, Question]]) -> LabelledBatch:
        texts, spans = [story.en for story, _ in some], [(q.start, q.end) for _, q in some]
        return question_rows([q.text for _, q in some], texts, spans, lab.tokenizer)

    rows, test = rows_of(learned), rows_of(fresh)
    answers = [[q.answer] for _, q in fresh]
    methods = {"LoRA": replace(METHODS["LoRA"], lora=16, longer=1.5), "scratch": METHODS["scratch"]}
    for seed in range(seeds):
        for name, method in methods.items():
            model = lab.fine_tuned(method, SpanExtractor, rows, span_loss, steps=500, batch_size=16, seed=seed)
            places = zip(test.ids.tolist(), predicted_answers(model, test).tolist(), strict=True)
            said = [lab.tokenizer.decode(ids[first : last + 1]) for ids, (first, last) in places]
            scores = {"exact match": exact_match(said, answers), "f1": answer_f1(said, answers)}
            yield {"method": name, "labels": QUESTIONS, "seed": seed, **scores}


TASKS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {"tagging": tagging, "questions": answering}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all, if none is named")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", help="another encoder, as the pretraining command writes it")
    options = parser.parse_args()
    if unknown := set(options.tasks) - TASKS.keys():
        parser.error(f"there is no task {', '.join(map(repr, sorted(unknown)))}: they are {', '.join(TASKS)}")
    torch.set_num_threads(1)
    lab = Lab(options.folder)
    for task in options.tasks or TASKS:
        began, rows = time.process_time(), []
        for row in TASKS[task](lab, options.seeds):
            rows.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
            print(f"{task:9} {json.dumps(rows[-1])}  ({time.process_time() - began:.0f} s)", flush=True)
        others = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(others | {task: rows}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
