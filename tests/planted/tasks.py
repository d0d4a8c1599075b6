"""Bugs in what fine-tuning reads and says: places of tokens, tags, rows, and predictions."""

from tests.planted.planting import Bug

LABELS, ROWS, SAID = (
    ("tests/data/test_labels.py",),
    ("tests/objectives/test_task_rows.py",),
    ("tests/using/test_prediction.py",),
)
_L, _R, _P = "course_lib/data/labels.py", "course_lib/objectives/tasks.py", "course_lib/using/prediction.py"

BUGS = [
    Bug("a token holds the space before it", _L, 'piece[:1] == b" ")', 'piece[:1] == b"-")', LABELS),
    Bug("bytes are counted as characters", _L, "(byte & 0xC0 != 0x80)", "1", LABELS),
    Bug(
        "a token within a character begins at the next one",
        _L,
        " - (begin < len(text) and text[begin] & 0xC0 == 0x80)",
        "",
        LABELS,
    ),
    Bug("each piece of a name is a word", _L, "start < places[-1][1] or goes_on", "start < places[-1][1]", LABELS),
    Bug("a space is a word", _L, "if text[start:end].isspace():", "if False:", LABELS),
    Bug("a span has one word more", _L, "if places[number][0] < end:", "if places[number][0] <= end + 1:", LABELS),
    Bug("all words of a span begin one", _L, 'tags[number] = f"I-{label}"', 'tags[number] = f"B-{label}"', LABELS),
    Bug(
        "an I- of another kind goes on",
        _L,
        'tag[:2] == "I-" and tag[2:] == open_label',
        'tag[:2] == "I-" and open_label',
        LABELS,
    ),
    Bug("an I- goes on behind an O", _L, 'if tag[:2] == "B-" else None', 'if tag[:2] == "B-" else open_label', LABELS),
    Bug("labels stand one token too early", _R, "row[1 + first] =", "row[first] =", ROWS),
    Bug(
        "each token of a word has a label",
        _R,
        "row = torch.full((len(ids) + 2,), IGNORE)",
        "row = torch.full((len(ids) + 2,), 0)",
        ROWS,
    ),
    Bug(
        "an answer stands one token too early", _R, "[len(asked) + 2 + inside[0],", "[len(asked) + 1 + inside[0],", ROWS
    ),
    Bug("an answer ends with the text's end", _R, "len(asked) + 2 + inside[-1]]", "len(asked) + 1 + len(ids)]", ROWS),
    Bug(
        "the [SEP] of the question is in the second text",
        _R,
        "[number] * (len(text) + 1)",
        "[number] * len(text) + [1]",
        ROWS,
    ),
    Bug("no [SEP] ends a row", _R, "ids += [*text, separator]", "ids += [*text, ids[0]]", ROWS),
    Bug("an answer may end before it begins", _P, "(length < 1) | (length > longest)", "length > longest", SAID),
    Bug("an answer may be as long as the text", _P, "(length < 1) | (length > longest)", "length < 1", SAID),
    Bug("an answer may stand in the question", _P, "rows.real & (rows.segments == 1)", "rows.real.clone()", SAID),
    Bug(
        "an answer may be the end mark",
        _P,
        "    inside &= inside.roll(-1, dims=1)  # without the [SEP] at its end\n",
        "",
        SAID,
    ),
    Bug(
        "rows come back in the order of their lengths",
        _P,
        "every[part] = logits",
        "every[part.sort().values] = logits",
        SAID,
    ),
    Bug(
        "a prediction reads padding",
        _P,
        "for tensor in rows[:3])",
        "for tensor in (rows.ids, torch.ones_like(rows.real), rows.segments))",
        SAID,
    ),
    Bug(
        "answers are shared out in other parts than their rows",
        _P,
        "end.split(_ROWS)",
        "end.flip(0).split(_ROWS)",
        SAID,
    ),
    Bug("a prediction is made with dropout", _P, "    with evaluating(model):\n", "    with torch.no_grad():\n", SAID),
    Bug("Chinese characters side by side are a word", _L, '"\\u4e00" <= letter <= "\\u9fff"', "letter is None", LABELS),
    Bug(
        "a Chinese character goes on with what is before it",
        _L,
        "for letter in pair)",
        "for letter in pair[:1])",
        LABELS,
    ),
    Bug("of two spans on a word the second one stays", _L, 'if tags[number] != "O":', "if False:", LABELS),
    Bug("any tokenizer will do", _R, "    if not isinstance(tokenizer, Tokenizer):\n", "    if not tokenizer:\n", ROWS),
    Bug(
        "there may be more classes than texts", _R, "if len(rows) != len(labels):", "if len(rows) > len(labels):", ROWS
    ),
    Bug(
        "lengths stay where the rows are",
        _P,
        "lengths = rows.real.sum(dim=1).cpu()",
        "lengths = rows.real.sum(dim=1)",
        SAID,
    ),
    Bug("labels stay where the rows are", _P, "labels = rows.labels.cpu()", "labels = rows.labels", SAID),
    Bug(
        "where an answer may be stays where the rows are",
        _P,
        "(rows.segments == 1)).cpu()",
        "(rows.segments == 1))",
        SAID,
    ),
]
