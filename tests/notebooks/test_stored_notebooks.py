"""Every stored notebook, and every Markdown file, against the rules in guards.py."""

import re
from pathlib import Path

import pytest

from tests.notebooks import guards

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = guards.stored_notebooks(ROOT)
CHAPTERS = [path for path in NOTEBOOKS if (ROOT / "notebooks") in path.parents]


def name(value):
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else getattr(value, "__name__", None)


def report(problems):
    return "\n" + "\n".join(problems)


def test_there_are_notebooks_to_guard():
    """Without this, a lost folder would make every test below pass over nothing."""
    assert len(CHAPTERS) >= 2
    assert [path.name[:3] for path in CHAPTERS[:2]] == ["00_", "01_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
@pytest.mark.parametrize("rule", guards.RULES, ids=name)
def test_the_notebook_keeps_the_rule(rule, path):
    problems = list(rule(guards.read(path, ROOT)))
    assert not problems, report(problems)


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
@pytest.mark.parametrize("rule", guards.CHAPTER_RULES, ids=name)
def test_the_chapter_keeps_the_rule(rule, path):
    problems = list(rule(guards.read(path, ROOT)))
    assert not problems, report(problems)


def test_at_least_85_of_100_cells_with_outputs_are_compared():
    compared, bearing = guards.compared(guards.read(path, ROOT) for path in NOTEBOOKS)
    assert bearing > 0
    assert compared >= guards.LEAST_COMPARED * bearing, f"{compared} of {bearing} cells with outputs are compared"


@pytest.mark.parametrize("path", guards.markdown_files(ROOT), ids=name)
def test_the_links_and_images_of_a_markdown_file_are_sound(path):
    text = path.read_text("utf-8")
    problems = list(guards.broken_links(text, path, ROOT))
    problems += [f"the image {image!r} has no alt text" for image in guards.prose_of(text).images_without_alt]
    assert not problems, report(problems)


def test_the_readme_is_among_the_files_whose_links_are_checked():
    assert ROOT / "README.md" in guards.markdown_files(ROOT)


# --- sanitize.cfg ----------------------------------------------------------------------------------------------------

SANITIZE = Path(__file__).with_name("sanitize.cfg")
MUST_STAY_AS_IT_IS = [
    "loss 2.31 nats per token, 5.4% above the best possible loss",
    "torch.Size([2, 5, 12, 3])",
    "{'the': 31, 'rose': 4}",
    "True\nFalse\n",
    "The tea was cold. 茶凉了。🫖",
    "interactive(children=(IntSlider(value=3, description='n'), Output()))",
]


def rules_in(text):
    """(the line above, regex, replacement) of every rule, as nbval 0.11 reads the file."""
    return re.findall(r"(^.*$\n)?^regex: (.*)$\n^replace: (.*)$", text, flags=re.MULTILINE)


def test_sanitizing_rules_are_few_and_each_says_why_it_is_there():
    text = SANITIZE.read_text("utf-8")
    rules = rules_in(text)
    assert len(rules) <= 5
    assert len(re.findall(r"^\s*regex", text, flags=re.MULTILINE)) == len(rules)  # another form would have no effect
    assert all(re.match(r"# \w+ \w+", above) for above, _, _ in rules)


def test_sanitizing_changes_no_number_shape_or_sentence():
    for _, pattern, replacement in rules_in(SANITIZE.read_text("utf-8")):
        for text in MUST_STAY_AS_IT_IS:
            assert re.sub(pattern, replacement, text) == text


def test_the_reader_of_sanitizing_rules_finds_them_as_nbval_does():
    from nbval.plugin import get_sanitize_patterns

    text = "# Why it is there\nregex: a+\nreplace: A\n\nregex: b\nreplace: B\n"
    assert [rule[1:] for rule in rules_in(text)] == get_sanitize_patterns(text) == [("a+", "A"), ("b", "B")]
    assert rules_in(text)[0][0] == "# Why it is there\n"
    assert rules_in(text)[1][0] == "\n"
