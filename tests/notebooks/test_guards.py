"""The guards themselves: a good notebook passes every rule, and each planted fault is named by its rule."""

import base64
import copy
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks import guards
from tests.notebooks.guards import Page

PNG = base64.b64encode(b"\x89PNG planted").decode()
FIGURE = {"image/png": PNG, "text/plain": "<Figure size 640x480 with 1 Axes>"}
WIDGET = {"text/plain": "interactive(children=(IntSlider(value=3), Output()), _dom_classes=('widget-interact',))"}


def shown(data, **metadata):
    return new_output("display_data", data=dict(data), metadata=metadata)


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


HEADER = """# 01 · Text to tokens

After this chapter you will be able to train a tokenizer.
You need chapter 00. It takes 30 minutes to read and 1 minute of CPU. A GPU does not help.
"""
FOOTER = """## To remember

- One.
- Two.
- Three.

**Exercises:** in [this folder](../exercises). **Next:** [the top](#01-·-Text-to-tokens). **Papers:** none.
"""


def good_cells():
    return [
        new_markdown_cell(HEADER),
        new_markdown_cell(
            "## 1 · Letters and √K\n\nSee [the readme](../README.md#for-whom-is-it) and ![a letter](a.png)."
        ),
        code("from course_lib.data.text import count\nletters = count('aab')\nprint(letters)", printed("3\n")),
        code("draw(letters)\nassert letters == 3", shown(FIGURE)),
        new_markdown_cell("**Figure 1.** Three letters: a stands twice, b once."),
        code("interact(draw, n=(1, 9))", shown(WIDGET), tags=["nbval-ignore-output", "reason: shows a widget"]),
        code("for n in (1, 9):\n    draw(n)\n    assert n", shown(FIGURE)),
        new_markdown_cell("**Figure 2.** The smallest and the largest number of letters."),
        code(
            "1 / 0",
            new_output("error", ename="ZeroDivisionError", evalue="division by zero"),
            tags=["raises-exception"],
        ),
        new_markdown_cell(FOOTER),
    ]


@pytest.fixture
def repository(tmp_path):
    files = {
        "course_lib/__init__.py": '"""A library."""\n',
        "course_lib/data/text.py": (
            "import os\nfrom re import match\nT = 5\nSIZE, OTHER = 3, 4\n_hidden = 1\n"
            "def count(text): inner = 1\nclass Counter: attribute = 1\n"
        ),
        "README.md": "# The course\n\n## For whom is it?\n\n## Again\n\n## Again\n",
        "exercises/README.md": "none",
        "notebooks/a.png": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def page_of(repository, cells, metadata=None, minor=5, store=True):
    """The page as it is read back from its file, with code cells counted where the plant has not done so."""
    notebook = new_notebook(nbformat_minor=minor)
    notebook.cells = copy.deepcopy(cells)  # not as an argument, which would be validated: some plants are invalid
    notebook.metadata = {"kernelspec": guards.KERNEL, "language_info": {"name": "python"}} | (metadata or {})
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code" and c.source), 1):
        cell.execution_count = cell.execution_count or count
        if cell.execution_count == -1:
            cell.execution_count = None
    path = repository / "notebooks" / "01_planted.ipynb"
    if store:
        path.write_text(nbformat.v4.writes(notebook) + "\n", "utf-8")
    return guards.read(path, repository)


def problems(rule, page):
    return list(rule(page))


ALL_RULES = [*guards.RULES, *guards.CHAPTER_RULES]


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_a_good_notebook_passes(rule, repository):
    assert problems(rule, page_of(repository, good_cells())) == []


def at(index, **changes):
    """A plant: one cell of the good notebook with other attributes."""

    def plant(cells):
        for name, value in changes.items():
            cells[index][name] = value
        return cells

    return plant


def put(*new, after=2):
    """A plant: further cells in the good notebook."""
    return lambda cells: [*cells[: after + 1], *new, *cells[after + 1 :]]


def without(index):
    return lambda cells: cells[:index] + cells[index + 1 :]


def output(text):
    """A plant: another text printed by the third cell."""
    return at(2, outputs=[printed(text)])


def prose(text):
    """A plant: one more cell of prose."""
    return put(new_markdown_cell(text))


def counted_text(source):
    return put(code(source))


WITHOUT_ALT = {"text/html": '<img src="data:image/png;base64,xyz">', "text/plain": "<Image>"}
ERROR = new_output("error", ename="NameError", evalue="no", traceback=[])
PLANTS = [
    # run in order, without errors
    (
        guards.every_cell_was_run_in_order,
        at(2, execution_count=-1),
        r"cell 3 \('from.*has the number None, not 1: run all",
    ),
    (guards.every_cell_was_run_in_order, at(3, execution_count=3), r"cell 4 .* has the number 3, not 2"),
    (guards.every_cell_was_run_in_order, counted_text(""), r"cell 4 \('empty'\) holds no code"),
    (guards.every_cell_was_run_in_order, counted_text("# later"), r"cell 4 \('# later'\) holds no code"),
    (guards.every_cell_was_run_in_order, at(2, outputs=[ERROR]), "cell 3 .* ends in NameError: repair it, or tag it"),
    (guards.every_cell_was_run_in_order, at(8, outputs=[]), "cell 9 .* tagged raises-exception and raises nothing"),
    # nothing is skipped
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["nbval-skip"]}), "cell 3 .* has the tag 'nbval-skip'"),
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["NBVAL_SKIP"]}), "has the tag 'NBVAL_SKIP'"),
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["nbval-check-output"]}), "the tag 'nbval-check-output'"),
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["nbval-raises-exception"]}), "'nbval-raises-exception'"),
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["pytest-validate-ignore-output"]}), "the tag 'pytest-val"),
    (guards.no_cell_is_skipped, at(2, metadata={"tags": ["skip-execution"]}), "has the tag 'skip-execution'"),
    (guards.no_cell_is_skipped, counted_text("# NBVAL_SKIP\nx = 1"), "the comment NBVAL_SKIP: use the tag"),
    (guards.no_cell_is_skipped, counted_text("x = 1\n  ## NBVAL_IGNORE_OUTPUT  "), "the comment NBVAL_IGNORE_OUTPUT"),
    (guards.no_cell_is_skipped, counted_text("#NBVAL_CHECK_OUTPUT\nx = 1"), "the comment NBVAL_CHECK_OUTPUT"),
    (guards.no_cell_is_skipped, counted_text("# PYTEST_VALIDATE_IGNORE_OUTPUT\nx = 1"), "the comment PYTEST_VALID"),
    (guards.no_cell_is_skipped, counted_text("%%script false\nx = 1"), "cell 4 .* has %%script: what a cell magic"),
    (guards.no_cell_is_skipped, counted_text("\n%%capture\nx = 1"), "has %%capture"),
    (guards.no_cell_is_skipped, put(nbformat.v4.new_raw_cell("x = 1")), "cell 4 .* is raw and never runs"),
    (guards.no_cell_is_skipped, counted_text("if False:\n    x = 1"), "has code under a fixed condition"),
    (guards.no_cell_is_skipped, counted_text("if 0:\n    x = 1"), "has code under a fixed condition"),
    (guards.no_cell_is_skipped, counted_text("if True:\n    x = 1\nelse:\n    y = 1"), "under a fixed condition"),
    (guards.no_cell_is_skipped, counted_text("while None:\n    x = 1"), "has code under a fixed condition"),
    (guards.no_cell_is_skipped, counted_text("import sys\nsys.exit()"), r"ends the program \(sys.exit\(\)\)"),
    (guards.no_cell_is_skipped, counted_text("exit(0)"), r"ends the program \(exit\(0\)\)"),
    (guards.no_cell_is_skipped, counted_text("raise SystemExit"), r"ends the program \(raise SystemExit\)"),
    (guards.no_cell_is_skipped, counted_text("def f(:"), r"cell 4 \('def f\(:'\) is no Python: correct it"),
    # exceptions from comparing
    (
        guards.each_exception_from_comparing_names_its_reason,
        at(5, metadata={"tags": ["nbval-ignore-output"]}),
        "cell 6 .* is not compared and does not say why: add a tag such as 'reason: prints a clock'",
    ),
    (
        guards.each_exception_from_comparing_names_its_reason,
        at(5, metadata={"tags": ["nbval-ignore-output", "reason: because"]}),
        "cell 6 .* is not compared and does not say why",
    ),
    (
        guards.each_exception_from_comparing_names_its_reason,
        at(2, source="# NBVAL_IGNORE_OUTPUT\nx = 1"),
        "cell 3 .* is not compared and does not say why",
    ),
    (
        guards.each_exception_from_comparing_names_its_reason,
        at(2, metadata={"tags": ["reason: prints a clock"]}),
        "cell 3 .* gives a reason for not being compared, but is",
    ),
    # nothing of the library is redefined
    *(
        (
            guards.nothing_exported_is_redefined,
            counted_text(source),
            f"redefines '{name}' of course_lib.data.text: import",
        )
        for source, name in [
            ("def count(x):\n    return 1", "count"),
            ("async def count(x):\n    return 1", "count"),
            ("class Counter:\n    pass", "Counter"),
            ("count = len", "count"),
            ("a, (count, b) = 1, (2, 3)", "count"),
            ("SIZE += 1", "SIZE"),
            ("OTHER: int = 3", "OTHER"),
            ("for count in range(3):\n    pass", "count"),
            ("with open('x') as count:\n    pass", "count"),
            ("if (count := 3) > 2:\n    pass", "count"),
            ("try:\n    pass\nexcept ValueError as count:\n    pass", "count"),
            ("from collections import Counter", "Counter"),
            ("import numpy as count", "count"),
            ("def f():\n    def count(x):\n        return 1", "count"),
            ("class A:\n    def count(self):\n        return 1\n    class Counter:\n        pass", "Counter"),
            ("%matplotlib inline\ncount = 1", "count"),
        ]
    ),
    # no cell asks which machine it is on
    (guards.no_cell_asks_for_the_device, counted_text("if use_gpu:\n    x = 1"), "asks 'use_gpu': use scale"),
    (guards.no_cell_asks_for_the_device, counted_text("x = 1 if scale().name == 'gpu' else 2"), 'asks "scale'),
    (guards.no_cell_asks_for_the_device, counted_text("model.cuda()"), "uses 'model.cuda': use best_device"),
    (guards.no_cell_asks_for_the_device, counted_text("x = torch.cuda.is_available()"), "uses 'torch.cuda'"),
    (guards.no_cell_asks_for_the_device, counted_text("model.to('cuda:0')"), "names the device 'cuda:0'"),
    (guards.no_cell_asks_for_the_device, counted_text("x = zeros(3, device='mps')"), "names the device 'mps'"),
    # length
    (
        guards.code_cells_are_short,
        counted_text("\n".join(f"x{i} = {i}" for i in range(21))),
        "cell 4 .* has 21 lines, more",
    ),
    # the file
    (
        guards.metadata_is_clean,
        at(2, metadata={"execution": {"iopub.status.busy": "2025"}}),
        r"metadata \['execution'\]",
    ),
    (guards.metadata_is_clean, at(2, metadata={"ExecuteTime": {}}), r"cell 3 .* has metadata \['ExecuteTime'\]"),
    (guards.metadata_is_clean, at(0, metadata={"collapsed": True}), r"cell 1 .* has metadata \['collapsed'\]"),
    (guards.metadata_is_clean, at(3, id="same", metadata={}), None),
    (
        guards.metadata_is_clean,
        lambda cells: at(4, id="same")(at(3, id="same")(cells)),
        "cell 5 .* the id 'same' of an earlier",
    ),
    (guards.metadata_is_clean, at(3, id="not allowed!"), "no valid notebook: 'not allowed!' does not match"),
    (
        guards.metadata_is_clean,
        at(3, outputs=[shown(FIGURE, isolated=True)]),
        r"an output with metadata \['isolated'\]",
    ),
    (
        guards.metadata_is_clean,
        at(
            5,
            outputs=[
                shown(WIDGET | {guards.WIDGET_VIEW: {"model_id": "0123", "version_major": 2, "version_minor": 0}})
            ],
        ),
        "cell 6 .* stores the view of a widget",
    ),
    # outputs
    *(
        (guards.outputs_hold_nothing_of_one_machine_or_one_run, output(text), f"cell 3 .* shows {what}")
        for text, what in [
            ("saved to /home/ada/course/x.bin", "a path of one machine"),
            ("saved to '/Users/ada/x'", "a path of one machine"),
            ("/tmp/tmpabc/x", "a path of one machine"),
            ("C:\\Users\\ada", "a path of one machine"),
            ("lib/python3.11/site-packages/torch/x.py:3", "a path of one machine"),
            ("Traceback (most recent call last):\n  File", r"a traceback \(catch the error"),
            ("<function f at 0x7f3a2b1c4d50>", "the address of an object"),
            ("0x00007f3a2b1c4d", "the address of an object"),
            ("CPU times: user 3 s", "a time"),
            ("10%|# | 3/30 [00:01<00:09, 2.9it/s]", "a time"),
        ]
    ),
    (
        guards.outputs_hold_nothing_of_one_machine_or_one_run,
        at(2, outputs=[shown({"text/html": "<b>/home/ada/x</b>", "text/plain": "x"})]),
        "cell 3 .* shows a path of one machine: '<b>/home/ada/x",
    ),
    (
        guards.outputs_hold_nothing_of_one_machine_or_one_run,
        at(8, outputs=[new_output("error", ename="E", evalue="no", traceback=["File /opt/x/a.py:3"])]),
        "cell 9 .* shows a path of one machine",
    ),
    (
        guards.outputs_hold_nothing_of_one_machine_or_one_run,
        at(2, outputs=[printed("UserWarning: old", name="stderr")]),
        r"cell 3 .* writes to stderr \['UserWarning: old'\]",
    ),
    # figures
    (guards.every_figure_has_a_caption_or_alt_text, without(4), "cell 4 .* shows a figure without words"),
    (guards.every_figure_has_a_caption_or_alt_text, at(4, source="**Figure 1.** Letters."), "cell 4 .* without words"),
    (
        guards.every_figure_has_a_caption_or_alt_text,
        at(4, source="As Figure 1 shows, a stands twice."),
        "without words",
    ),
    (
        guards.every_figure_has_a_caption_or_alt_text,
        put(code("x()", shown({"image/svg+xml": "<svg/>"}))),
        "without words",
    ),
    (guards.every_figure_has_a_caption_or_alt_text, put(code("x()", shown(WITHOUT_ALT))), "without words"),
    (
        guards.every_figure_has_a_caption_or_alt_text,
        put(code("x()", shown(FIGURE)), after=9),
        "cell 11 .* without words",
    ),
    (
        guards.every_figure_has_a_caption_or_alt_text,
        put(code("x()", shown(FIGURE, **{"image/png": {"alt": "a bar"}}), shown(FIGURE))),
        "cell 4 .* without words",
    ),
    (
        guards.every_figure_stands_beside_an_assert,
        put(code("a = 1"), code("draw()", shown(FIGURE)), code("b = 1")),
        r"cell 5 \('draw\(\)'\) shows a figure and nothing is asserted",
    ),
    (guards.every_widget_has_a_static_twin, without(6), "cell 6 .* shows a widget and no figure follows"),
    (
        guards.every_widget_has_a_static_twin,
        put(code("IntSlider()", shown({"text/plain": "IntSlider(value=3)"})), new_markdown_cell("x"), after=8),
        r"cell 10 \('IntSlider\(\)'\) shows a widget",
    ),
    (
        guards.every_widget_has_a_static_twin,
        put(code("own", shown({"text/plain": "Own()", guards.WIDGET_VIEW: {"model_id": "0"}})), after=8),
        "cell 10 .* shows a widget",
    ),
    # links
    *(
        (guards.every_link_resolves, prose(text), f"cell 4 .*: the link '{link}' {what}")
        for text, link, what in [
            ("[x](absent.ipynb)", "absent.ipynb", "leads nowhere"),
            ("[x](../absent.md#there)", "../absent.md#there", "leads nowhere"),
            ("![x](b.png)", "b.png", "leads nowhere"),
            ("see [this][r]\n\n[r]: absent.md", "absent.md", "leads nowhere"),
            ("<a href='absent.md'>x</a>", "absent.md", "leads nowhere"),
            ('<details>\n<img src="b.png" alt="b">\n</details>', "b.png", "leads nowhere"),
            ("- item\n\n  > [x](absent.md)", "absent.md", "leads nowhere"),
            ("| a |\n|---|\n| [x](absent.md) |", "absent.md", "leads nowhere"),
            ("[x](../README.md#for-nobody)", "../README.md#for-nobody", "names a heading that README.md does not have"),
            ("[x](../README.md#again-2)", "../README.md#again-2", "names a heading that README.md does not have"),
            ("[x](#2-·-Letters)", "#2-·-Letters", "names a heading that 01_planted.ipynb does not have"),
            ("[x](../../other/x.md)", "../../other/x.md", "leaves the repository: link relative"),
            ("[x](/notebooks/01_planted.ipynb)", "/notebooks/01_planted.ipynb", "leaves the repository: link relative"),
        ]
    ),
    (
        guards.every_link_resolves,
        prose("![x](attachment:lost.png)"),
        "cell 4 .*: 'attachment:lost.png' is not attached",
    ),
    (guards.every_image_in_the_prose_has_alt_text, prose("![](a.png)"), "cell 4 .*: the image 'a.png' has no alt text"),
    (guards.every_image_in_the_prose_has_alt_text, prose("<img src='a.png'>"), "the image 'a.png' has no alt text"),
    (guards.every_image_in_the_prose_has_alt_text, prose("<img src='a.png' alt=' '>"), "the image 'a.png' has no alt"),
    # header and footer
    *(
        (
            guards.a_chapter_has_its_header_and_its_footer,
            at(0, source=HEADER.replace(old, new)),
            what and f"the header .*{what}",
        )
        for old, new, what in [
            ("able to ", "", "what you will be able to do"),
            ("you will be able to", "you can", None),
            ("need", "know", "what you need first"),
            ("30 minutes to read", "Reading it", "the minutes to read"),
            ("1 minute of CPU", "more", "the time of CPU"),
            ("1 minute of CPU", "about 15 seconds of CPU", None),
            ("GPU", "cluster", "whether a GPU helps"),
        ]
    ),
    (
        guards.a_chapter_has_its_header_and_its_footer,
        at(0, source="Hello"),
        "the first cell is not Markdown that starts",
    ),
    (guards.a_chapter_has_its_header_and_its_footer, without(9), "there is no heading with 'remember'"),
    *(
        (
            guards.a_chapter_has_its_header_and_its_footer,
            at(9, source=FOOTER.replace(old, new)),
            what and rf"the (?:footer .*)?{what}",
        )
        for old, new, what in [
            ("- Two.\n", "", "list under 'remember' has 2 items: three"),
            ("- Three.\n", "- Three.\n\nExercises:\n\n- More.\n", None),
            ("- One.\n- Two.\n- Three.\n", "Remember it all.", "list under 'remember' has 0 items"),
            ("- One.\n- Two.\n- Three.\n", "1. One\n   and more.\n2. Two.\n3. Three.\n", None),
            ("- Two.\n", "- Two.\n- More.\n", "list under 'remember' has 4 items"),
            ("Exercises", "Tasks", None),
            ("**Exercises:** in [this folder](../exercises).", "", "the exercises"),
            ("Next", "See", "one pointer onward"),
            ("Papers", "Books", "the papers"),
        ]
    ),
]


@pytest.mark.parametrize(
    ("rule", "plant", "message"),
    [pytest.param(*plant, id=f"{i}-{plant[0].__name__}") for i, plant in enumerate(PLANTS)],
)
def test_each_planted_fault_is_named_by_its_rule(rule, plant, message, repository):
    found = problems(rule, page_of(repository, plant(good_cells())))
    if message is None:  # a near miss that must pass
        assert found == []
    else:
        assert len(found) == 1, found
        assert re.search(message, found[0], flags=re.DOTALL), found


def test_every_rule_has_a_planted_fault():
    planted = {rule for rule, _, message in PLANTS if message}
    assert set(ALL_RULES) - planted == {guards.the_file_is_stored_as_jupyter_stores_it}  # planted below


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"widgets": {"application/vnd.jupyter.widget-state+json": {}}}, r"the notebook has metadata \['widgets'\]"),
        ({"kernelspec": {"name": "course", "display_name": "Course", "language": "python"}}, "kernelspec is .*course"),
        (
            {"language_info": {"name": "python", "version": "3.11.7"}},
            "language_info.version names the Python of one machine",
        ),
        ({"language_info": {}}, "language_info.name is not 'python'"),
    ],
)
def test_metadata_of_one_machine_is_named(repository, metadata, message):
    found = problems(guards.metadata_is_clean, page_of(repository, good_cells(), metadata))
    assert re.search(message, "\n".join(found))


def test_cells_without_an_id_are_named(repository):
    page = page_of(repository, good_cells())
    del page.notebook.cells[2]["id"]
    page.path.write_text(nbformat.v4.writes(page.notebook) + "\n", "utf-8")
    found = problems(guards.metadata_is_clean, guards.read(page.path, repository))
    assert re.search(r"cell 3 .* has no id", found[0])


def test_an_old_format_without_ids_is_named(repository):
    found = problems(guards.metadata_is_clean, page_of(repository, good_cells(), minor=4))
    assert "nbformat is 4.4, not 4.5: open and save it in JupyterLab" in found


@pytest.mark.parametrize("change", [lambda text: text.replace("\n ", "\n  "), lambda text: text + "\n", str.strip])
def test_a_file_that_jupyter_would_store_otherwise_is_named(repository, change):
    page = page_of(repository, good_cells())
    page.path.write_text(change(page.path.read_text("utf-8")), "utf-8")
    [found] = problems(guards.the_file_is_stored_as_jupyter_stores_it, guards.read(page.path, repository))
    assert found == "the file is not as Jupyter writes it: run python course.py notebooks"


HARMLESS = [
    (guards.every_cell_was_run_in_order, counted_text("%matplotlib inline")),
    (guards.no_cell_is_skipped, counted_text("x = '''\n%%time\n'''  # NBVAL_SKIP and more words")),
    (guards.no_cell_is_skipped, counted_text("while True:\n    break")),
    (guards.no_cell_is_skipped, counted_text("exits = [door.exit(3) for door in doors]\nraise ValueError('x')")),
    (guards.nothing_exported_is_redefined, counted_text("from course_lib.data.text import Counter, count as number")),
    (guards.nothing_exported_is_redefined, counted_text("T, os, _hidden, inner, attribute, match = range(6)")),
    (
        guards.nothing_exported_is_redefined,
        counted_text("def f(count):\n    SIZE = count\n    return SIZE\nx = [count for count in y]"),
    ),
    (
        guards.nothing_exported_is_redefined,
        counted_text("page.count = 3\nd['count'] = lambda count: count\nf(count=3)"),
    ),
    (guards.no_cell_asks_for_the_device, counted_text("device = best_device()\nn = scale().choose(laptop=1, gpu=2)")),
    (guards.code_cells_are_short, counted_text("\n".join(f"x{i} = {i}" for i in range(20)))),
    (
        guards.outputs_hold_nothing_of_one_machine_or_one_run,
        output("U+1F600 is 0x1F600, and/or https://x.org/home/ada 3/tmp"),
    ),
    (guards.outputs_hold_nothing_of_one_machine_or_one_run, output("  0%|          | 0/30 [00:00<?, ?it/s]")),
    (guards.outputs_hold_nothing_of_one_machine_or_one_run, at(3, outputs=[shown({"image/png": "/home/ada/opt/x"})])),
    (
        guards.every_figure_has_a_caption_or_alt_text,
        put(code("draw()", shown(FIGURE, **{"image/png": {"alt": "two bars, the first is higher"}}))),
    ),
    (guards.every_figure_has_a_caption_or_alt_text, put(code("x()", shown({"text/html": "<img src='a' alt='b'>"})))),
    (guards.every_figure_stands_beside_an_assert, put(code("draw()", shown(FIGURE)), code("assert x"))),
    (guards.every_widget_has_a_static_twin, put(code("interact()", shown(WIDGET), shown(FIGURE)), after=8)),
    (
        guards.every_widget_has_a_static_twin,
        put(
            code("tqdm(x)", shown({"text/plain": "run:  0%|     | 0/9 [00:00<?, ?it/s]", guards.WIDGET_VIEW: {}})),
            after=8,
        ),
    ),
    (
        guards.every_link_resolves,
        prose("`[x](absent.md)`\n\n```\n[x](absent.md)\n```\n\n$a[i](b)$ <https://x.org/y#z>"),
    ),
    (
        guards.every_link_resolves,
        prose("[x](../README.md#again-1), [y](#1-·-Letters-and-√K), [z](#1-%C2%B7-Letters-and-√K)"),
    ),
    (
        guards.every_link_resolves,
        prose('<a id="here"></a> and [x](#here), [mail](mailto:a@b.c), [folder](../exercises)'),
    ),
]


@pytest.mark.parametrize(
    ("rule", "plant"), [pytest.param(*plant, id=f"{i}-{plant[0].__name__}") for i, plant in enumerate(HARMLESS)]
)
def test_what_only_looks_like_a_fault_passes(rule, plant, repository):
    assert problems(rule, page_of(repository, plant(good_cells()))) == []


def test_a_link_from_the_root_of_the_disk_is_named_even_into_the_repository(repository):
    target = (repository / "README.md").as_posix()
    [found] = problems(guards.every_link_resolves, page_of(repository, prose(f"[x]({target})")(good_cells())))
    assert found.endswith(f"the link '{target}' leaves the repository: link relative to this file")


def test_a_picture_that_is_attached_to_its_cell_resolves(repository):
    cell = new_markdown_cell("![a letter](attachment:a.png)", attachments={"a.png": {"image/png": PNG}})
    assert problems(guards.every_link_resolves, page_of(repository, put(cell)(good_cells()))) == []


def test_only_cells_with_outputs_count_as_compared_or_not(repository):
    cells = [code("1", printed("1")), code("x = 1"), code("2", printed("2"), tags=["nbval-ignore-output"])]
    cells += [code("# NBVAL_IGNORE_OUTPUT\n3", printed("3")), code("4", shown(FIGURE))]
    page = page_of(repository, cells)
    assert guards.compared([page]) == (2, 4)
    assert guards.compared([page, page]) == (4, 8)
    assert guards.compared([]) == (0, 0)


def test_the_stored_notebooks_are_the_chapters_and_the_exercises_wherever_they_lie(tmp_path):
    wanted = ["exercises/00.ipynb", "exercises/solutions/00.ipynb", "notebooks/00.ipynb", "notebooks/zh/00.ipynb"]
    others = ["notebooks/.ipynb_checkpoints/00.ipynb", "tests/x.ipynb", "notebooks/x.md"]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.relative_to(tmp_path).as_posix() for path in guards.stored_notebooks(tmp_path)] == wanted


def test_markdown_files_are_those_of_the_repository_and_not_of_the_tools_in_it(tmp_path):
    for name in ["README.md", "a/b.md", ".venv/x.md", "node_modules/p/x.md", ".pytest_cache/README.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.relative_to(tmp_path).as_posix() for path in guards.markdown_files(tmp_path)] == [
        "README.md",
        "a/b.md",
    ]


def test_exported_names_are_public_and_defined_at_the_top_of_a_module(repository):
    assert guards.exported(repository) == dict.fromkeys(["SIZE", "OTHER", "count", "Counter"], "course_lib.data.text")


def test_a_page_is_read_without_repairing_it(repository):
    page = page_of(repository, at(3, id="same")(at(2, id="same")(good_cells())))
    assert [cell.id for cell in page.notebook.cells[2:4]] == ["same", "same"]
    assert isinstance(page, Page)
