"""Answers to the exercises of chapter 06, right and wrong, as learners write them."""

import itertools
import random

import torch
import torch.nn.functional as F

from course_lib.objectives.masked import mask_tokens
from course_lib.objectives.permutation import order_mask
from course_lib.objectives.spans import cut_spans

# --- counted_targets --------------------------------------------------------------------------------------------------

COUNTED = [241, 36, 3.6, 40, 48, 7]


def counted(index, number):
    return [*COUNTED[:index], number, *COUNTED[index + 1 :]]


# --- spans_by_hand ----------------------------------------------------------------------------------------------------

SHOWN = "<X> gave the kite to <Y> . Then <Z> went home ."
ASKED = "<X> Rose <Y> Tom in the park <Z> he <U>"
MENDED = "Lily and Ben met Tom in the garden ."


# --- hidden_words -----------------------------------------------------------------------------------------------------


def hiding(
    choose=lambda lots, special, share: (lots < share) & ~special,
    fates=lambda chosen, dice: (chosen & (dice() < 0.8), 0.5),
    words="ordinary",
    ask=lambda ids, shown, chosen, special: ids.masked_fill(~chosen, -100),
    own_chance=None,
    exclusive=True,
):
    """The function of the exercise, repaired, with a place for each mistake."""

    def hidden_words(ids, special_ids, mask_id, vocabulary, share, generator):
        if own_chance is not None:
            generator = own_chance()

        def dice():
            return torch.rand(ids.shape, generator=generator)

        special = torch.isin(ids, torch.tensor(special_ids))
        chosen = choose(dice(), special, share)
        masked, half = fates(chosen, dice)
        free = chosen & ~masked if exclusive else chosen
        changed = free & (dice() < half)
        known = [i for i in range(vocabulary) if i not in special_ids]
        if words == "ordinary":
            others = torch.tensor(known)[torch.randint(len(known), ids.shape, generator=generator)]
        elif words == "all":
            others = torch.randint(vocabulary, ids.shape, generator=generator)
        elif words == "one":
            others = torch.tensor(known)[torch.randint(len(known), (1,), generator=generator)].expand(ids.shape)
        else:
            others = torch.randint(len(known), ids.shape, generator=generator)  # the place in the list
        shown = ids.masked_fill(masked, mask_id)
        shown = torch.where(changed, others, shown)
        return shown, ask(ids, shown, chosen, special)

    return hidden_words


def hide_by_loops(ids, special_ids, mask_id, vocabulary, share, generator):
    known = [i for i in range(vocabulary) if i not in special_ids]
    shown, targets = ids.clone(), torch.full_like(ids, -100)
    lots = torch.rand(2, *ids.shape, generator=generator).tolist()
    numbers = torch.randint(len(known), ids.shape, generator=generator).tolist()
    for b, row in enumerate(ids.tolist()):
        for t, token in enumerate(row):
            if token in special_ids or lots[0][b][t] >= share:
                continue
            targets[b, t] = token
            if lots[1][b][t] < 0.8:
                shown[b, t] = mask_id
            elif lots[1][b][t] < 0.9:
                shown[b, t] = known[numbers[b][t]]
    return shown, targets


def hide_with_the_library(ids, special_ids, mask_id, vocabulary, share, generator):
    batch = mask_tokens(
        ids, mask_id=mask_id, vocabulary=vocabulary, special_ids=special_ids, share=share, generator=generator
    )
    return batch.ids, batch.targets


def hide_as_in_hugging_face(inputs, special_ids, mask_id, vocabulary, share, generator):
    """After ``torch_mask_tokens`` of its collator, with random tokens that are ordinary ones."""
    inputs, labels = inputs.clone(), inputs.clone()
    chances = torch.full(labels.shape, share)
    special = sum(labels == i for i in special_ids).bool()
    chances.masked_fill_(special, value=0.0)
    masked_indices = torch.bernoulli(chances, generator=generator).bool()
    labels[~masked_indices] = -100
    replaced = torch.bernoulli(torch.full(labels.shape, 0.8), generator=generator).bool() & masked_indices
    inputs[replaced] = mask_id
    rest = masked_indices & ~replaced
    randomised = torch.bernoulli(torch.full(labels.shape, 0.5), generator=generator).bool() & rest
    weights = torch.ones(vocabulary)
    weights[special_ids] = 0
    inputs[randomised] = torch.multinomial(weights, int(randomised.sum()), replacement=True, generator=generator)
    return inputs, labels


def hide_by_one_number(ids, special_ids, mask_id, vocabulary, share, generator):
    """One draw decides who is chosen, and what becomes of them."""
    lots = torch.rand(ids.shape, generator=generator) / share
    known = torch.tensor(sorted({*range(vocabulary)} - {*special_ids}))
    others = known[torch.randint(len(known), ids.shape, generator=generator)]
    ordinary = torch.isin(ids, known)
    shown = torch.where(ordinary & (lots < 0.9), others, ids)
    shown[ordinary & (lots < 0.8)] = mask_id
    return shown, torch.where(ordinary & (lots < 1), ids, -100)


def hasty_hiding(ids, special_ids, mask_id, vocabulary, share, generator):
    """As the exercise hands it out."""

    def dice():
        return torch.rand(ids.shape, generator=generator)

    ordinary = torch.tensor([i for i in range(vocabulary) if i not in special_ids])
    others = ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]
    chosen = dice() < share
    masked = chosen & (dice() < 0.8)
    changed = chosen & ~masked & (dice() < 0.1)
    shown = torch.where(changed, others, ids).masked_fill(masked, mask_id)
    return shown, ids.clone()


def hide_in_place(ids, special_ids, mask_id, vocabulary, share, generator):
    shown, targets = hide_by_one_number(ids, special_ids, mask_id, vocabulary, share, generator)
    ids.copy_(shown)
    return ids, targets


def hide_without_a_copy(ids, special_ids, mask_id, vocabulary, share, generator):
    ids = ids.clone()
    shown, targets = hide_by_one_number(ids, special_ids, mask_id, vocabulary, share, generator)
    chosen = targets != -100
    ids.copy_(shown)
    return shown, torch.where(chosen, ids, -100)


def hide_all(ids, special_ids, mask_id, vocabulary, share, generator):
    special = torch.isin(ids, torch.tensor(special_ids))
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    return ids.masked_fill(chosen, mask_id), ids.masked_fill(~chosen, -100)


def hide_so_many_of_each_row(ids, special_ids, mask_id, vocabulary, share, generator):
    """Exactly as many as ``share`` of the places of a row."""
    special = torch.isin(ids, torch.tensor(special_ids))
    lots = torch.rand(ids.shape, generator=generator).masked_fill(special, 2.0)
    chosen = lots.argsort(dim=1).argsort(dim=1) < int(share * ids.shape[1])
    return hiding(choose=lambda lots, special, share: chosen)(ids, special_ids, mask_id, vocabulary, share, generator)


def hide_padding_never(ids, special_ids, mask_id, vocabulary, share, generator):
    """Only what most rows have: the padding."""
    return hiding(choose=lambda lots, special, share: (lots < share) & (ids != special_ids[0]))(
        ids, special_ids, mask_id, vocabulary, share, generator
    )


def python_chance():
    return torch.Generator().manual_seed(random.randrange(10**6))


def ask_again(ids, shown, chosen, special):
    """A second draw for the targets."""
    again = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(3)) < 0.3) & ~special
    return ids.masked_fill(~again, -100)


def ask_shifted(ids, shown, chosen, special):
    return torch.where(chosen, ids.roll(-1, dims=1), -100)


# --- cut_out ----------------------------------------------------------------------------------------------------------


def cut_by_the_token_before(tokens, cut, marks):
    shown, asked, used = [], [], 0
    for i, token in enumerate(tokens):
        if not cut[i]:
            shown.append(token)
            continue
        if i == 0 or not cut[i - 1]:
            shown.append(marks[used])
            asked.append(marks[used])
            used += 1
        asked.append(token)
    if not cut[-1]:
        asked.append(marks[used])
    return shown, asked


def cut_with_the_library(tokens, cut, marks):
    numbers = {word: i for i, word in enumerate(dict.fromkeys([*tokens, *marks]))}
    words = list(numbers)
    both = cut_spans([numbers[t] for t in tokens], torch.tensor(cut), [numbers[m] for m in marks])
    return tuple([words[i] for i in part] for part in both)


def cut_by_index(tokens, cut, marks):
    shown, asked, i, unused = [], [], 0, iter(marks)
    while i < len(tokens):
        if cut[i]:
            end = i
            while end < len(tokens) and cut[end]:
                end += 1
            mark = next(unused)
            shown += [mark]
            asked += [mark, *tokens[i:end]]
            i = end
        else:
            shown += [tokens[i]]
            i += 1
    return [shown, asked if cut[-1] else [*asked, next(unused)]]


def cut_with_pop(tokens, cut, marks):
    left, shown, asked = marks[::-1], [], []
    before = False
    for token, gone in zip(tokens, cut, strict=True):
        if gone and not before:
            asked.append(left.pop())
            shown.append(asked[-1])
        (asked if gone else shown).append(token)
        before = gone
    return shown, asked + ([] if before else [left.pop()])


def cutting(
    new=lambda i, cut: i == 0 or not cut[i - 1],
    close=lambda cut: not cut[-1],
    closing=lambda marks, used: marks[used],
    shows_mark="first",
    asks_mark="before",
    keeps=False,
    step=1,
    first=0,
    turned=False,
):
    def cut_out(tokens, cut, marks):
        cut = [not gone for gone in cut] if turned else cut
        shown, asked, used = [], [], first
        for i, token in enumerate(tokens):
            if cut[i]:
                begins = new(i, cut)
                if begins:
                    mark = marks[used]
                    used += step
                if shows_mark == "always" or (begins and shows_mark == "first"):
                    shown.append(mark)
                if begins and asks_mark == "before":
                    asked.append(mark)
                asked.append(token)
                if keeps:
                    shown.append(token)
                if asks_mark == "behind" and (i + 1 == len(cut) or not cut[i + 1]):
                    asked.append(mark)
            else:
                shown.append(token)
        if close(cut):
            asked.append(closing(marks, used))
        return shown, asked

    return cut_out


def cut_flushed(tokens, cut, marks):
    shown, asked, span, used = [], [], [], 0
    for token, gone in zip(tokens, cut, strict=True):
        if gone:
            span.append(token)
            continue
        if span:
            shown.append(marks[used])
            asked += [marks[used], *span]
            used, span = used + 1, []
        shown.append(token)
    if not cut[-1]:
        asked.append(marks[used])
    return shown, asked


def cut_by_runs(tokens, cut, marks):
    """The number of the run picks the mark."""
    shown, asked, place, number = [], [], 0, -1
    for number, (gone, run) in enumerate(itertools.groupby(cut)):
        size = len(list(run))
        part = tokens[place : place + size]
        place += size
        if gone:
            shown.append(marks[number])
            asked += [marks[number], *part]
        else:
            shown += part
    return shown, asked + ([] if cut[-1] else [marks[number + 1]])


def cut_first_only(tokens, cut, marks):
    shown, asked, used = [], [], 0
    for i, token in enumerate(tokens):
        if not cut[i]:
            shown.append(token)
        elif i == 0 or not cut[i - 1]:
            shown.append(marks[used])
            asked += [marks[used], token]
            used += 1
    return shown, asked + ([] if cut[-1] else [marks[used]])


# --- two_masks --------------------------------------------------------------------------------------------------------


def masks_by_ranks(order, context):
    rank = torch.empty(len(order), dtype=torch.long)
    rank[torch.tensor(order)] = torch.arange(len(order))
    content = (rank[None, :] <= rank[:, None]) | (rank[None, :] < context)
    query = rank[None, :] < rank[order[context:]][:, None]
    return query, content


def masks_by_loops(order, context):
    size = len(order)
    query = torch.zeros(size - context, size, dtype=torch.bool)
    content = torch.eye(size, dtype=torch.bool)
    for i, place in enumerate(order):
        for other in order[:i]:
            content[place, other] = True
            if i >= context:
                query[i - context, other] = True
    for place in order[:context]:
        for other in order[:context]:
            content[place, other] = True
    return query, content


def masks_with_the_library(order, context):
    both = order_mask(torch.tensor([order]), torch.tensor([context]))[0]
    return both[order[context:]], both | torch.eye(len(order), dtype=torch.bool)


def masks_by_slices(order, context):
    """What was read so far grows along the order."""
    size, seen = len(order), torch.zeros(len(order), dtype=torch.bool)
    seen[order[:context]] = True
    rows, content = [], torch.zeros(size, size).bool()
    content[order[:context]] = seen
    for place in order[context:]:
        rows.append(seen.clone())
        seen[place] = True
        content[place] = seen
    return torch.stack(rows), content


def masks_in_numbers(order, context):
    return tuple(mask.int() for mask in masks_by_ranks(order, context))


def changed_query(change):
    return lambda order, context: (change(order, context), masks_by_ranks(order, context)[1])


def changed_content(change):
    return lambda order, context: (masks_by_ranks(order, context)[0], change(order, context))


def rank_of(order):
    return torch.tensor([order.index(place) for place in range(len(order))])


def content_from(condition):
    return changed_content(
        lambda order, context: torch.tensor(
            [
                [bool(condition(order.index(t), order.index(s), context)) for s in range(len(order))]
                for t in range(len(order))
            ]
        )
    )


def query_from(condition):
    return changed_query(
        lambda order, context: torch.tensor(
            [
                [bool(condition(order.index(t), order.index(s), context)) for s in range(len(order))]
                for t in order[context:]
            ]
        )
    )


def masks_by_numbers(order, context):
    """``order`` taken for the ranks, in both masks."""
    rank = torch.tensor(order)
    content = (rank <= rank[:, None]) | (rank < context)
    return (rank < rank[:, None])[order[context:]], content


# --- leaks ------------------------------------------------------------------------------------------------------------


def leaks_by_loops(model, ids, queries, vocabulary):
    before = model(ids)
    found = []
    for i, place in enumerate(queries):
        leak = False
        for token in range(vocabulary):
            other = ids.clone()
            other[place] = token
            if not torch.equal(model(other)[i], before[i]):
                leak = True
        found.append(leak)
    return found


def leaks_in_one_line(model, ids, queries, vocabulary):
    def put(place, token):
        return torch.where(torch.arange(len(ids)) == place, token, ids)

    return [
        any((model(put(place, v))[i] != model(ids)[i]).any() for v in range(vocabulary))
        for i, place in enumerate(queries)
    ]


def leaks_with_a_set(model, ids, queries, vocabulary):
    """All predictions that come out, whatever stands there: is there more than one?"""
    found = []
    for i, place in enumerate(queries):
        seen = set()
        for token in range(vocabulary):
            text = ids.tolist()
            text[place] = token
            seen.add(tuple(model(torch.tensor(text))[i].tolist()))
        found.append(len(seen) > 1)
    return tuple(found)


def leaks_put_back(model, ids, queries, vocabulary):
    """In place, and put back afterwards."""
    found = [False] * len(queries)
    for i, place in enumerate(queries):
        old, before = ids[place].item(), model(ids)[i].clone()
        for token in range(vocabulary):
            ids[place] = token
            found[i] = found[i] or (model(ids)[i] - before).abs().max().item() > 0
        ids[place] = old
    return found


def leaking(
    differs=lambda one, other, i: bool((one[i] != other[i]).any()),
    place=lambda queries, i: queries[i],
    tokens=lambda old, vocabulary: range(vocabulary),
    fresh=True,
    back=lambda found, queries: found,
    last=False,
):
    def leaks(model, ids, queries, vocabulary):
        before, found, other = model(ids), [], ids.clone()
        for i in range(len(queries)):
            at = place(queries, i)
            leak = False
            for token in tokens(int(ids[queries[i]]), vocabulary):
                if fresh:
                    other = ids.clone()
                other[at] = token
                now = differs(before, model(other), i)
                leak = now if last else leak or now
            found.append(leak)
        return back(found, queries)

    return leaks


def leaks_without_a_copy(model, ids, queries, vocabulary):
    """``other`` is ``ids``, and so each text is compared with itself."""
    found = []
    for i, place in enumerate(queries):
        leak = False
        for token in range(vocabulary):
            other = ids
            other[place] = token
            leak = leak or not torch.equal(model(other)[i], model(ids)[i])
        found.append(leak)
    return found


def leaks_compared_by_is(model, ids, queries, vocabulary):
    before = model(ids)
    return [model(ids)[i] is not before[i] for i in range(len(queries))]


# --- electra_loss -----------------------------------------------------------------------------------------------------


def electra_plain(ids, real, chosen, drawn, guesses, judge, weight):
    shown = torch.where(chosen, drawn, ids)
    replaced = (shown != ids).float()
    first = F.cross_entropy(guesses[chosen], ids[chosen])
    second = F.binary_cross_entropy_with_logits(judge(shown)[real], replaced[real])
    return first + weight * second


def electra_by_loops(ids, real, chosen, drawn, guesses, judge, weight):
    shown = ids.clone()
    shown[chosen] = drawn[chosen]
    scores = judge(shown)
    first, second = [], []
    for b in range(len(ids)):
        for t in range(ids.shape[1]):
            if chosen[b, t]:
                first.append(-torch.log_softmax(guesses[b, t], dim=0)[ids[b, t]])
            if real[b, t]:
                sign = 1 if shown[b, t] != ids[b, t] else -1
                second.append(-F.logsigmoid(sign * scores[b, t]))
    return sum(first) / len(first) + weight * sum(second) / len(second)


def electra_with_ignored(ids, real, chosen, drawn, guesses, judge, weight):
    """Targets of -100, and two classes in place of one score."""
    targets = ids.masked_fill(~chosen, -100)
    first = F.cross_entropy(guesses.transpose(1, 2), targets)
    shown = torch.where(chosen, drawn, ids)
    scores = judge(shown)
    two = torch.stack([torch.zeros_like(scores), scores], dim=1)
    second = F.cross_entropy(two, (shown != ids).long().masked_fill(~real, -100))
    return first + weight * second


def electra_weighed(ids, real, chosen, drawn, guesses, judge, weight):
    """In float64, with masks in place of indices; lucky draws are told apart by hand."""
    lucky = chosen & (drawn == ids)
    replaced = (chosen & ~lucky).double()
    scores = judge(ids * ~chosen + drawn * chosen).double()
    p = torch.sigmoid(scores)
    each = -(replaced * p.log() + (1 - replaced) * (1 - p).log())
    log_p = guesses.double().log_softmax(-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    return -(log_p * chosen).sum() / chosen.sum() + weight * (each * real).sum() / real.sum()


def electra(
    first=lambda guesses, ids, real, chosen, drawn: F.cross_entropy(guesses[chosen], ids[chosen]),
    show=lambda ids, chosen, drawn: torch.where(chosen, drawn, ids),
    label=lambda ids, chosen, drawn, shown: shown != ids,
    second=lambda each, real, chosen, replaced: each[real].mean(),
    loss=lambda scores, labels: F.binary_cross_entropy_with_logits(scores, labels, reduction="none"),
    total=lambda one, two, weight: one + weight * two,
):
    def electra_loss(ids, real, chosen, drawn, guesses, judge, weight):
        shown = show(ids, chosen, drawn)
        labels = label(ids, chosen, drawn, shown)
        each = loss(judge(shown), labels.float())
        return total(first(guesses, ids, real, chosen, drawn), second(each, real, chosen, labels), weight)

    return electra_loss


def each_guess(guesses, ids):
    return F.cross_entropy(guesses.transpose(1, 2), ids, reduction="none")


def by_rows(each, counted):
    return torch.stack([row[some].mean() for row, some in zip(each, counted, strict=True)]).mean()


def electra_without_judge_gradient(ids, real, chosen, drawn, guesses, judge, weight):
    return electra_plain(ids, real, chosen, drawn, guesses, lambda shown: judge(shown).detach(), weight)


RIGHT = {
    "counted_targets": [
        ("numbers", [241, 36, 3.6, 40, 48, 7]),
        ("sums", [240 + 1, 0.15 * 240, 0.1 * 0.15 * 240, 240 / 6, 36 + 36 / 3, -(-241 // 36)]),
        ("a tuple", (241.0, 36.0, 3.6, 40.0, 48.0, 7.0)),
    ],
    "spans_by_hand": [
        ("a list", [SHOWN, ASKED, MENDED]),
        ("a tuple, other spaces", (SHOWN.replace(" ", "  "), f" {ASKED}\n", MENDED)),
        ("lists of words", [SHOWN.split(), ASKED.split(), MENDED.split()]),
    ],
    "hidden_words": [
        ("repaired", hiding()),
        ("loops", hide_by_loops),
        ("the library", hide_with_the_library),
        ("as in Hugging Face", hide_as_in_hugging_face),
        ("one number for all", hide_by_one_number),
    ],
    "cut_out": [
        ("the token before", cut_by_the_token_before),
        ("the library", cut_with_the_library),
        ("by index, lists", cut_by_index),
        ("marks popped from a copy", cut_with_pop),
        ("all in one", cutting()),
    ],
    "two_masks": [
        ("ranks", masks_by_ranks),
        ("loops", masks_by_loops),
        ("the library", masks_with_the_library),
        ("row by row along the order", masks_by_slices),
        ("conditions", content_from(lambda t, s, context: s <= t or s < context)),
    ],
    "leaks": [
        ("loops", leaks_by_loops),
        ("one line", leaks_in_one_line),
        ("a set of predictions", leaks_with_a_set),
        ("in place, put back", leaks_put_back),
    ],
    "electra_loss": [
        ("plain", electra_plain),
        ("loops", electra_by_loops),
        ("-100 and two classes", electra_with_ignored),
        ("float64 and masks", electra_weighed),
    ],
}

WRONG = {
    "counted_targets": [
        ("end_forgotten", counted(0, 240)),
        ("first_asked", counted(0, 242)),
        ("padding_asked", counted(0, 300)),
        ("padding_and_shift", counted(0, 299)),
        ("as_bert", counted(0, 36)),
        ("of_the_row", counted(1, 45)),
        ("specials_counted", counted(1, 0.15 * 242)),
        ("masks_only", counted(1, 28.8)),
        ("changed_only", counted(1, 0.9 * 36)),
        ("all_of_them", counted(1, 240)),
        ("of_all_tokens", counted(2, 24)),
        ("of_the_row", counted(2, 4.5)),
        ("random_too", counted(2, 7.2)),
        ("masks_only", counted(2, 28.8)),
        ("a_share", counted(2, 0.1)),
        ("as_bert", counted(3, 36)),
        ("of_the_row", counted(3, 50)),
        ("specials_counted", counted(3, 40.3333)),
        ("the_context", counted(3, 200)),
        ("all_of_them", counted(3, 240)),
        ("marks_forgotten", counted(4, 36)),
        ("one_mark", counted(4, 37)),
        ("closed", counted(4, 49)),
        ("marks_alone", counted(4, 12)),
        ("three_marks", counted(4, 39)),
        ("rounded_down", counted(5, 6)),
        ("not_whole", counted(5, 6.7)),
        ("not_whole", counted(5, 241 / 36)),
        ("not_whole", counted(5, 240 / 36)),
        ("unknown", counted(4, 100)),
        ("still_open", counted(3, ...)),
        ("wrong_kind", counted(3, "40")),
        ("wrong_length", COUNTED[:5]),
        ("wrong_kind", dict(enumerate(COUNTED))),
    ],
    "spans_by_hand": [
        ("exchanged", [ASKED, SHOWN, MENDED]),
        ("no_marks", ["gave the kite to . Then went home .", "Rose Tom in the park he", MENDED]),
        ("a_mark_for_each_word", ["<X> gave the kite to <Y> <Z> <U> <V> . Then <W> went home .", ASKED, MENDED]),
        ("one_mark_for_all", [SHOWN.replace("<Y>", "<X>").replace("<Z>", "<X>"), ASKED, MENDED]),
        ("same_mark_for_each_word", [SHOWN.replace("<Y>", "<Y> <Y> <Y> <Y>"), ASKED, MENDED]),
        ("closing_mark_shown", [f"{SHOWN} <U>", ASKED, MENDED]),
        ("nothing_cut", ["<X> Rose gave the kite to <Y> Tom in the park . Then <Z> he went home .", ASKED, MENDED]),
        ("kept_cut", ["Rose <X> Tom in the park <Y> he <Z>", ASKED, MENDED]),
        ("nothing_for_the_first", ["gave the kite to <X> . Then <Y> went home .", ASKED, MENDED]),
        ("closing_mark_missing", [SHOWN, ASKED.removesuffix(" <U>"), MENDED]),
        ("marks_behind", [SHOWN, "Rose <X> Tom in the park <Y> he <Z>", MENDED]),
        ("marks_behind_and_closed", [SHOWN, "Rose <X> Tom in the park <Y> he <Z> <U>", MENDED]),
        ("no_marks", [SHOWN, "Rose Tom in the park he", MENDED]),
        ("whole_text", [SHOWN, "Rose gave the kite to Tom in the park . Then he went home .", MENDED]),
        ("exchanged", [SHOWN, SHOWN, MENDED]),
        ("one_mark_for_all", [SHOWN, "<X> Rose <X> Tom in the park <X> he <X>", MENDED]),
        ("first_mark_missing", [SHOWN, ASKED.removeprefix("<X> "), MENDED]),
        ("closed_with_the_last", [SHOWN, ASKED.replace("<U>", "<Z>"), MENDED]),
        ("a_mark_for_each_word", [SHOWN, "<X> Rose <Y> Tom <Z> in <U> the <V> park <W> he", MENDED]),
        ("unknown", [SHOWN, ASKED.replace("he", "she"), MENDED]),
        ("in_the_order_written", [SHOWN, ASKED, "Tom met Lily and Ben in the garden ."]),
        ("marks_kept", [SHOWN, ASKED, "<X> Lily and Ben met <Y> Tom in the garden ."]),
        ("closing_mark_kept", [SHOWN, ASKED, f"{MENDED} <Z>"]),
        ("one_behind_the_other", [SHOWN, ASKED, "<X> met <Y> in the garden . <Y> Tom <X> Lily and Ben <Z>"]),
        ("wrong_kind", SHOWN),
        ("wrong_length", [SHOWN, ASKED]),
        ("still_open", [SHOWN, ..., MENDED]),
    ],
    "hidden_words": [
        ("specials_hidden", hasty_hiding),
        ("specials_hidden", hide_padding_never),
        ("specials_hidden", hiding(choose=lambda lots, special, share: lots < share)),
        ("nothing_hidden", lambda ids, *case: (ids, ids)),
        ("nobody_asked", hiding(ask=lambda ids, shown, chosen, special: torch.full_like(ids, -100))),
        ("other_ignore", hiding(ask=lambda ids, shown, chosen, special: ids * chosen)),
        ("other_ignore", hiding(ask=lambda ids, shown, chosen, special: ids.masked_fill(~chosen, -1))),
        ("all_asked", hiding(ask=lambda ids, shown, chosen, special: ids.clone())),
        ("all_asked", hiding(ask=lambda ids, shown, chosen, special: ids.masked_fill(special, -100))),
        ("asked_elsewhere", hiding(ask=lambda ids, shown, chosen, special: ids.masked_fill(chosen, -100))),
        ("asked_for_what_is_shown", hiding(ask=lambda ids, shown, chosen, special: torch.where(chosen, shown, -100))),
        ("asked_for_what_is_shown", hide_without_a_copy),
        ("specials_asked", hiding(ask=lambda ids, shown, chosen, special: ids.masked_fill(~(chosen | special), -100))),
        ("other_words_asked", hiding(ask=ask_shifted)),
        ("hidden_not_asked", hiding(ask=ask_again)),
        ("hidden_not_asked", hiding(ask=lambda ids, shown, chosen, special: torch.where(shown == 12, ids, -100))),
        ("all_masked", hide_all),
        ("kept_not_asked", hiding(ask=lambda ids, shown, chosen, special: torch.where(shown != ids, ids, -100))),
        ("tenth_of_the_rest", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.8), 0.1))),
        ("random_overwrites", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.8), 0.1), exclusive=False)),
        ("half_overwrites", hiding(exclusive=False)),
        ("none_kept", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.8), 1.0))),
        ("none_random", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.8), 0.0))),
        ("all_random", hiding(fates=lambda chosen, dice: (chosen & False, 1.0))),
        ("mask_and_random_exchanged", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.1), 8 / 9))),
        ("mask_and_kept_exchanged", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.1), 1 / 9))),
        ("unknown", hiding(fates=lambda chosen, dice: (chosen & (dice() < 0.6), 0.5))),
        ("share_ignored", hiding(choose=lambda lots, special, share: (lots < 0.15) & ~special)),
        ("share_of_all_places", hide_so_many_of_each_row),
        ("share_turned", hiding(choose=lambda lots, special, share: (lots > share) & ~special)),
        ("unknown", hiding(choose=lambda lots, special, share: (lots < share**2) & ~special)),
        ("special_drawn", hiding(words="all")),
        ("special_drawn", hiding(words="places")),
        ("one_for_all", hiding(words="one")),
        ("other_chance", hiding(own_chance=lambda: None)),
        ("other_chance", hiding(own_chance=python_chance)),
        ("always_the_same", hiding(own_chance=lambda: torch.Generator().manual_seed(0))),
        ("changed_input", hide_in_place),
    ],
    "cut_out": [
        ("closing_missing", cutting(close=lambda cut: False)),
        ("always_closed", cutting(close=lambda cut: True)),
        ("closing_missing", cutting(close=lambda cut: cut[-1])),
        ("closed_with_the_last", cutting(closing=lambda marks, used: marks[used - 1] if used else marks[0])),
        ("mark_for_each_token", cutting(new=lambda i, cut: True)),
        ("one_mark_for_all", cutting(step=0)),
        ("marks_behind", cutting(asks_mark="behind")),
        ("asked_without_marks", cutting(asks_mark="never")),
        ("shown_without_marks", cutting(shows_mark="never")),
        ("mark_as_often_as_tokens", cutting(shows_mark="always")),
        ("nothing_taken_out", cutting(keeps=True)),
        ("kept_and_cut_exchanged", cutting(turned=True)),
        ("exchanged", lambda *case: cut_with_pop(*case)[::-1]),
        ("last_span_lost", cut_flushed),
        ("first_mark_skipped", cutting(first=1)),
        ("marks_reversed", lambda tokens, cut, marks: cutting()(tokens, cut, marks[::-1])),
        ("marks_counted_over_kept", cut_by_runs),
        ("first_token_only", cut_first_only),
        ("no_mark_at_the_beginning", cutting(new=lambda i, cut: i > 0 and not cut[i - 1])),
        ("last_token_before_the_first", cutting(new=lambda i, cut: not cut[i - 1])),
        ("raised", lambda tokens, cut, marks: cutting()(tokens, cut, marks[:1])),
    ],
    "two_masks": [
        ("reads_itself", query_from(lambda t, s, context: s <= t)),
        ("context_only", query_from(lambda t, s, context: s < context)),
        ("all_but_itself", query_from(lambda t, s, context: s != t)),
        ("reads_what_comes_later", query_from(lambda t, s, context: s > t)),
        ("inverted", query_from(lambda t, s, context: s >= t)),
        ("order_for_ranks", masks_by_numbers),
        (
            "from_left_to_right",
            changed_query(lambda order, context: torch.ones(len(order), len(order)).tril(-1).bool()[order[context:]]),
        ),
        (
            "rows_in_text_order",
            changed_query(
                lambda order, context: masks_with_the_library(order, 0)[0][rank_of(order)][sorted(order[context:])]
            ),
        ),
        (
            "columns_in_the_order",
            changed_query(lambda order, context: torch.ones(len(order), len(order)).tril(-1).bool()[context:]),
        ),
        ("rows_for_all", changed_query(lambda order, context: rank_of(order) < rank_of(order)[:, None])),
        (
            "rows_for_all_with_context",
            changed_query(lambda order, context: order_mask(torch.tensor([order]), torch.tensor([context]))[0]),
        ),
        ("turned", changed_query(lambda order, context: masks_by_loops(order, context)[0].T)),
        (
            "rows_of_the_context",
            changed_query(lambda order, context: (rank_of(order) < rank_of(order)[:, None])[order[:context]]),
        ),
        ("masks_exchanged", lambda *case: masks_by_loops(*case)[::-1]),
        ("content_without_itself", content_from(lambda t, s, context: s < t or s < context)),
        ("context_one_by_one", content_from(lambda t, s, context: s <= t)),
        ("context_reads_all", content_from(lambda t, s, context: s <= t or t < context)),
        ("one_by_one_without_itself", content_from(lambda t, s, context: s < t)),
        ("context_without_itself", content_from(lambda t, s, context: s < t or (s < context and s != t))),
        ("nobody_reads_itself_or_later", content_from(lambda t, s, context: s < context and s != t)),
        ("context_and_itself", content_from(lambda t, s, context: s < context or s == t)),
        ("reads_all", content_from(lambda t, s, context: True)),
        ("inverted", content_from(lambda t, s, context: s > t and s >= context)),
        ("turned", changed_content(lambda order, context: masks_by_loops(order, context)[1].T)),
        ("order_for_ranks", changed_content(lambda order, context: masks_by_numbers(order, context)[1])),
        (
            "from_left_to_right",
            changed_content(lambda order, context: torch.ones(len(order), len(order)).tril().bool()),
        ),
        (
            "left_to_right_and_context",
            changed_content(
                lambda order, context: torch.ones(len(order), len(order)).tril().bool() | (rank_of(order) < context)
            ),
        ),
        (
            "in_the_order",
            changed_content(
                lambda order, context: torch.tensor(
                    [[s <= t or s < context for s in range(len(order))] for t in range(len(order))]
                )
            ),
        ),
        ("rows_in_the_order", changed_content(lambda order, context: masks_by_loops(order, context)[1][order])),
        ("wrong_dtype", masks_in_numbers),
        ("wrong_kind", lambda order, context: masks_by_ranks(order, context)[0].tolist()),
    ],
    "leaks": [
        ("looks_at_all_predictions", leaking(differs=lambda one, other, i: not torch.equal(one, other))),
        ("all_targets_changed", leaking(place=lambda queries, i: queries)),
        ("changes_stay", leaking(fresh=False)),
        ("wrong_place", leaking(place=lambda queries, i: i)),
        ("finds_nothing", leaks_without_a_copy),
        ("finds_all", leaks_compared_by_is),
        ("opposite", leaking(back=lambda found, queries: [not leak for leak in found])),
        ("one_answer", leaking(back=lambda found, queries: any(found))),
        ("no_leak_is_true", leaking(back=lambda found, queries: not any(found))),
        (
            "places_that_leak",
            leaking(back=lambda found, queries: [q for q, leak in zip(queries, found, strict=True) if leak]),
        ),
        ("best_guess_only", leaking(differs=lambda one, other, i: bool(one[i].argmax() != other[i].argmax()))),
        ("with_tolerance", leaking(differs=lambda one, other, i: not torch.allclose(one[i], other[i], atol=1e-2))),
        ("with_tolerance", leaking(differs=lambda one, other, i: (one[i] - other[i]).abs().max().item() > 0.05)),
        ("one_other_token", leaking(tokens=lambda old, vocabulary: [(old + 1) % vocabulary])),
        ("token_0_only", leaking(tokens=lambda old, vocabulary: [0])),
        ("last_token_decides", leaking(last=True)),
    ],
    "electra_loss": [
        ("asked_everywhere", electra(first=lambda g, ids, real, chosen, drawn: F.cross_entropy(g[real], ids[real]))),
        ("asked_at_padding", electra(first=lambda g, ids, real, chosen, drawn: each_guess(g, ids).mean())),
        (
            "asked_for_the_drawn",
            electra(first=lambda g, ids, real, chosen, drawn: F.cross_entropy(g[chosen], drawn[chosen])),
        ),
        (
            "asked_where_replaced",
            electra(first=lambda g, ids, real, chosen, drawn: each_guess(g, ids)[chosen & (ids != drawn)].mean()),
        ),
        ("first_summed", electra(first=lambda g, ids, real, chosen, drawn: each_guess(g, ids)[chosen].sum())),
        (
            "first_over_all",
            electra(first=lambda g, ids, real, chosen, drawn: each_guess(g, ids)[chosen].sum() / real.sum()),
        ),
        ("first_over_places", electra(first=lambda g, ids, real, chosen, drawn: (each_guess(g, ids) * chosen).mean())),
        ("first_by_rows", electra(first=lambda g, ids, real, chosen, drawn: by_rows(each_guess(g, ids), chosen))),
        ("weight_on_the_first", electra(total=lambda one, two, weight: weight * one + two)),
        ("weight_forgotten", electra(total=lambda one, two, weight: one + two)),
        ("weight_shared", electra(total=lambda one, two, weight: (1 - weight) * one + weight * two)),
        ("judges_the_text", electra(show=lambda ids, chosen, drawn: ids, label=lambda i, c, d, s: c & (d != i))),
        ("drawn_everywhere", electra(show=lambda ids, chosen, drawn: drawn)),
        (
            "shown_drawn_everywhere",
            electra(show=lambda ids, chosen, drawn: drawn, label=lambda i, c, d, s: c & (d != i)),
        ),
        ("replaced_outside", electra(label=lambda ids, chosen, drawn, shown: drawn != ids)),
        ("hidden_is_replaced", electra(label=lambda ids, chosen, drawn, shown: chosen)),
        ("labels_exchanged", electra(label=lambda ids, chosen, drawn, shown: shown == ids)),
        ("hidden_only", electra(second=lambda each, real, chosen, replaced: each[chosen].mean())),
        ("replaced_only", electra(second=lambda each, real, chosen, replaced: each[replaced].mean())),
        ("padding_judged", electra(second=lambda each, real, chosen, replaced: each.mean())),
        ("divided_by_places", electra(second=lambda each, real, chosen, replaced: (each * real).mean())),
        ("divided_by_hidden", electra(second=lambda each, real, chosen, replaced: each[real].sum() / chosen.sum())),
        ("second_summed", electra(second=lambda each, real, chosen, replaced: each[real].sum())),
        ("second_by_rows", electra(second=lambda each, real, chosen, replaced: by_rows(each, real))),
        (
            "sigmoid_twice",
            electra(
                loss=lambda scores, labels: F.binary_cross_entropy_with_logits(
                    scores.sigmoid(), labels, reduction="none"
                )
            ),
        ),
        (
            "log_missing",
            electra(loss=lambda scores, labels: -torch.where(labels > 0, scores.sigmoid(), 1 - scores.sigmoid())),
        ),
        (
            "second_negative",
            electra(loss=lambda scores, labels: -F.binary_cross_entropy_with_logits(scores, labels, reduction="none")),
        ),
        ("no_gradient_for_the_first", lambda *case: electra_plain(*case).item()),
        (
            "no_gradient_for_the_first",
            lambda ids, real, chosen, drawn, guesses, *case: electra_plain(
                ids, real, chosen, drawn, guesses.detach(), *case
            ),
        ),
        ("no_gradient_for_the_second", electra_without_judge_gradient),
    ],
}
