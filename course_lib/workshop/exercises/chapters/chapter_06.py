"""Chapter 06, pretraining objectives: probes and typical mistakes. Their texts stand in ``texts/<language>/``.

Sizes: B sequences, T positions, P positions that are predicted, V vocabulary. In the cases no two sizes are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workshop.exercises.steps import Answer, Equals, Exercise, Gives, Wrong, difference

_Case = tuple[Any, ...]
_IGNORE = -100


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = _generator(seed)
    return lambda *size: torch.randn(*size, generator=generator)


@dataclass(frozen=True)
class _Item(Equals):
    """One item of a list of answers, as ``read`` reads it."""

    index: int = 0
    count: int = 1
    read: Callable[[Any], Any] = lambda value: value

    def __call__(self, answer: Answer) -> None:
        if wrong := difference(answer.value, [...] * self.count):
            if wrong.name in {"wrong_length", "wrong_kind"} and not _is_list(answer.value, self.count):
                raise wrong
        super().__call__(Answer(self.read(answer.value[self.index])))


def _is_list(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count


# --- counted_targets --------------------------------------------------------------------------------------------------

# A row of 300 places: [CLS], 240 tokens, [SEP], 58 [PAD].


def _counts(index: int, key: str, reference: float, tolerance: float | None = None, **mistakes: float) -> _Item:
    return _Item(key, reference=reference, mistakes=mistakes, tolerance=tolerance, index=index, count=6)


_COUNTS = [
    _counts(0, "gpt", 241, end_forgotten=240, first_asked=242, padding_asked=300, padding_and_shift=299, as_bert=36),
    _counts(
        1, "bert", 36, of_the_row=45, specials_counted=36.3, masks_only=28.8, changed_only=32.4, all_of_them=240
    ),
    _counts(2, "kept", 3.6, of_all_tokens=24, of_the_row=30, random_too=7.2, the_hidden=28.8, a_share=0.1),
    _counts(3, "xlnet", 40, as_bert=36, of_the_row=50, specials_counted=242 / 6, the_context=200, all_of_them=240),
    _counts(4, "t5", 48, marks_forgotten=36, one_mark=37, closed=49, marks_alone=12, three_marks=39),
    _counts(5, "epochs", 7, tolerance=0.01, rounded_down=6, not_whole=241 / 36, one_over_share=1 / 0.15, the_share=0.15),
]


# --- spans_by_hand ----------------------------------------------------------------------------------------------------

_SHOWN = "<X> gave the kite to <Y> . Then <Z> went home ."
_ASKED = "<X> Rose <Y> Tom in the park <Z> he <U>"


def _words(value: Any) -> Any:
    """A text with single spaces; a list of words is as good."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    return " ".join(value.split()) if isinstance(value, str) else value


_SHOWN_MISTAKES = {
    "exchanged": _ASKED,
    "no_marks": "gave the kite to . Then went home .",
    "a_mark_for_each_word": "<X> gave the kite to <Y> <Z> <U> <V> . Then <W> went home .",
    "one_mark_for_all": "<X> gave the kite to <X> . Then <X> went home .",
    "same_mark_for_each_word": "<X> gave the kite to <Y> <Y> <Y> <Y> . Then <Z> went home .",
    "closing_mark_shown": _SHOWN + " <U>",
    "nothing_cut": "<X> Rose gave the kite to <Y> Tom in the park . Then <Z> he went home .",
    "kept_cut": "Rose <X> Tom in the park <Y> he <Z>",
    "nothing_for_the_first": "gave the kite to <X> . Then <Y> went home .",
}
_ASKED_MISTAKES = {
    "closing_mark_missing": "<X> Rose <Y> Tom in the park <Z> he",
    "marks_behind": "Rose <X> Tom in the park <Y> he <Z>",
    "marks_behind_and_closed": "Rose <X> Tom in the park <Y> he <Z> <U>",
    "no_marks": "Rose Tom in the park he",
    "whole_text": "Rose gave the kite to Tom in the park . Then he went home .",
    "exchanged": _SHOWN,
    "one_mark_for_all": "<X> Rose <X> Tom in the park <X> he <X>",
    "first_mark_missing": "Rose <Y> Tom in the park <Z> he <U>",
    "closed_with_the_last": "<X> Rose <Y> Tom in the park <Z> he <Z>",
    "a_mark_for_each_word": "<X> Rose <Y> Tom <Z> in <U> the <V> park <W> he",
}


# --- hidden_words -----------------------------------------------------------------------------------------------------

_SPECIAL = {"[PAD]": 0, "[SEP]": 3, "[CLS]": 7, "[MASK]": 12}
_MASK, _VOCABULARY = 12, 41
_ORDINARY = [token for token in range(_VOCABULARY) if token not in _SPECIAL.values()]

_FATES = {  # masked, random, kept
    "all_masked": (1.0, 0.0, 0.0),
    "kept_not_asked": (8 / 9, 1 / 9, 0.0),
    "tenth_of_the_rest": (0.8, 0.02, 0.18),
    "random_overwrites": (0.72, 0.1, 0.18),
    "half_overwrites": (0.4, 0.5, 0.1),
    "none_kept": (0.8, 0.2, 0.0),
    "none_random": (0.8, 0.0, 0.2),
    "all_random": (0.0, 1.0, 0.0),
    "none_hidden": (0.0, 0.0, 1.0),
    "mask_and_random_exchanged": (0.1, 0.8, 0.1),
    "mask_and_kept_exchanged": (0.1, 0.1, 0.8),
}


def _rows(seed: int) -> Tensor:
    """[CLS], words, [SEP], [PAD]: rows of any length up to 90."""
    generator = _generator(seed)
    ids = torch.tensor(_ORDINARY)[torch.randint(len(_ORDINARY), (80, 90), generator=generator)]
    lengths = torch.randint(60, 90, (80, 1), generator=generator)
    place = torch.arange(90)
    ids = ids.masked_fill(place == lengths, _SPECIAL["[SEP]"]).masked_fill(place > lengths, _SPECIAL["[PAD]"])
    return ids.masked_fill(place == 0, _SPECIAL["[CLS]"])


def _hide(answer: Answer, seed: int, share: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """The text, and what the answer makes of it."""
    ids = _rows(seed)
    result = answer(ids, sorted(_SPECIAL.values()), _MASK, _VOCABULARY, share, _generator(seed))
    answer.inputs = ()  # 80 rows: too many to show
    if not _is_list(result, 2):
        raise difference(result, [ids, ids]) or Wrong("wrong_kind")
    for part in result:
        if (wrong := difference(part, ids)) and wrong.name != "unknown":
            raise wrong
    if answer.changed_input:
        raise Wrong("changed_input")
    return ids, *result


def specials_stay(answer: Answer) -> None:
    ids, shown, _ = _hide(answer, 60)
    for name, token in _SPECIAL.items():
        if (shown[ids == token] != token).any():
            raise Wrong("specials_hidden", token=name)


def chosen_are_asked(answer: Answer) -> None:
    ids, shown, targets = _hide(answer, 61)
    asked, changed = targets != _IGNORE, shown != ids
    ordinary = torch.isin(ids, torch.tensor(_ORDINARY))
    if not asked.any():
        raise Wrong("nobody_asked")
    if asked.all() or torch.equal(asked, ordinary):
        raise Wrong("all_asked")
    if not (asked & changed).any():
        raise Wrong("asked_elsewhere")
    if torch.equal(targets[asked], shown[asked]):
        raise Wrong("asked_for_what_is_shown")
    for name, token in _SPECIAL.items():
        if asked[ids == token].any():
            raise Wrong("specials_asked", token=name)
    if not torch.equal(targets[asked], ids[asked]):
        raise Wrong("other_words_asked")
    if (changed & ~asked).any():
        raise Wrong("hidden_not_asked")


def fates_of_the_chosen(answer: Answer) -> None:
    ids, shown, targets = _hide(answer, 62)
    asked = targets != _IGNORE
    masked = (shown[asked] == _MASK).float().mean().item()
    kept = (shown[asked] == ids[asked]).float().mean().item()
    found = masked, 1 - masked - kept, kept
    if not _near(found, (0.8, 0.1, 0.1)):
        for name, shares in _FATES.items():
            if _near(found, shares):
                _raise_fate(name)
        raise Wrong("other_fates", masked=f"{found[0]:.0%}", random=f"{found[1]:.0%}", kept=f"{found[2]:.0%}")


def _near(found: Sequence[float], shares: Sequence[float]) -> bool:
    return all(abs(one - other) < 0.04 for one, other in zip(found, shares, strict=True))
