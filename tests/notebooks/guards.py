"""What every stored notebook must keep to. nbval compares outputs and is blind to most of this.

Each rule is a function of one ``Page`` and yields its problems, each a sentence that names the cell and says what to
do. test_guards.py plants one bad notebook for each problem; test_stored_notebooks.py applies all rules to ours.
"""

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import ipywidgets
import mistune
import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbval.plugin import find_comment_markers, find_metadata_tags

MOST_LINES = 20
LEAST_COMPARED = 0.85  # of the code cells that have outputs
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_METADATA = {"tags", "jupyter", "nbgrader"}  # "jupyter" folds a cell's source; "nbgrader" says what is graded
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
NOTHING = ast.Module(body=[], type_ignores=[])
IGNORE, RAISES = "nbval-ignore-output", "raises-exception"


@dataclass(frozen=True)
class Page:
    """A notebook, where it stands, and the root of the repository that it stands in."""

    notebook: NotebookNode
    path: Path
    root: Path

    def code(self) -> list[tuple[int, NotebookNode]]:
        return [(i, cell) for i, cell in enumerate(self.notebook.cells) if cell.cell_type == "code"]

    def place(self, index: int) -> str:
        lines = self.notebook.cells[index].source.strip().splitlines()
        return f"cell {index + 1} ({lines[0][:50] if lines else 'empty'!r})"


def read(path: Path, root: Path) -> Page:
    """The page as it is stored: unlike ``nbformat.read``, this repairs nothing."""
    return Page(nbformat.v4.reads(path.read_text("utf-8")), path, root)


def stored_notebooks(root: Path) -> list[Path]:
    """Every notebook whose outputs are stored and compared: the chapters, the exercises and their solutions."""
    found = [path for folder in ("notebooks", "exercises") for path in (root / folder).rglob("*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


# --- reading a cell --------------------------------------------------------------------------------------------------


def python_of(cell: NotebookNode) -> ast.Module | None:
    """The cell as Python, with IPython's own syntax translated; None where it is no Python at all."""
    try:
        return ast.parse(TransformerManager().transform_cell(cell.source))
    except SyntaxError:
        return None


def tags_of(cell: NotebookNode) -> list[str]:
    tags = cell.metadata.get("tags", [])
    return tags if isinstance(tags, list) else [str(tags)]


def nbval_options(cell: NotebookNode) -> dict[str, bool]:
    """What nbval will do with the cell, as nbval itself reads it."""
    return {"check": True, **dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}


def texts_of(output: NotebookNode) -> Iterator[str]:
    """Every text in an output that a reader sees: no images, and no view of a widget."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield from (output.evalue, *output.traceback)
    else:
        for kind, value in output.data.items():
            if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
                yield value


def data_of(cell: NotebookNode) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The display data of the cell, each with its metadata."""
    return [(output.data, output.metadata) for output in cell.outputs if "data" in output]


# --- run and compared ------------------------------------------------------------------------------------------------


def every_cell_was_run_in_order(page: Page) -> Iterator[str]:
    """nbval lets a cell pass that was never run. Here: counted 1, 2, ... n, no cell empty, no error left."""
    count = 0
    for i, cell in page.code():
        if (tree := python_of(cell)) and not tree.body:
            yield f"{page.place(i)} holds no code: delete it, or make it Markdown"
        if not cell.source.strip():
            continue  # Jupyter does not run it, nor count it
        count += 1
        if cell.execution_count != count:
            yield f"{page.place(i)} has the number {cell.execution_count}, not {count}: run all, in order"
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors and RAISES not in tags_of(cell):
            yield f"{page.place(i)} ends in {errors[0].ename}: repair it, or tag it {RAISES} if it is meant"
        if RAISES in tags_of(cell) and not errors:
            yield f"{page.place(i)} is tagged {RAISES} and raises nothing: remove the tag"


def no_cell_is_skipped(page: Page) -> Iterator[str]:
    """No marker of nbval but one tag, and nothing that keeps code from running."""
    for i, cell in enumerate(page.notebook.cells):
        if cell.cell_type == "raw":
            yield f"{page.place(i)} is raw and never runs: make it code, or a block in Markdown"
        for tag in tags_of(cell):
            plain = tag.lower().replace("_", "-")
            if plain.startswith(("nbval", "pytest-validate", "skip")) and tag != IGNORE:
                yield f"{page.place(i)} has the tag {tag!r}: only {IGNORE!r} is used, with a reason"
    for i, cell in page.code():
        for marker in re.findall(r"^\s*#+\s*((?:NBVAL_|PYTEST_VALIDATE_)\w+)\s*$", cell.source, flags=re.MULTILINE):
            yield f"{page.place(i)} has the comment {marker}: use the tag {IGNORE!r}, with a reason"
        if magic := re.match(r"\s*(%%\w+)", cell.source):
            yield f"{page.place(i)} has {magic[1]}: what a cell magic runs, hides or skips is not tested"
        tree = python_of(cell)
        if tree is None:
            yield f"{page.place(i)} is no Python: correct it"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(node.test, ast.Constant):
                if not node.test.value or not isinstance(node, ast.While):
                    yield f"{page.place(i)} has code under a fixed condition: run it or delete it"
            elif _ends_the_program(node):
                yield f"{page.place(i)} ends the program ({ast.unparse(node)}): what follows would not run"


def _ends_the_program(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return node.exc is not None and "SystemExit" in ast.unparse(node.exc)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"exit", "quit", "sys.exit", "os._exit"}


def each_exception_from_comparing_names_its_reason(page: Page) -> Iterator[str]:
    for i, cell in page.code():
        reasons = [tag.removeprefix("reason:").strip() for tag in tags_of(cell) if tag.startswith("reason:")]
        if not nbval_options(cell)["check"] and not any(len(reason.split()) >= 2 for reason in reasons):
            yield (
                f"{page.place(i)} is not compared and does not say why: add a tag such as "
                "'reason: prints a clock' (two words or more, no comma)"
            )
        if nbval_options(cell)["check"] and reasons:
            yield f"{page.place(i)} gives a reason for not being compared, but is: remove the reason"


def compared(pages: Iterable[Page]) -> tuple[int, int]:
    """(cells that are compared, cells that have outputs), over all pages."""
    bearing = [cell for page in pages for _, cell in page.code() if cell.outputs]
    return sum(nbval_options(cell)["check"] for cell in bearing), len(bearing)


# --- no copies, no special cases -------------------------------------------------------------------------------------


@functools.cache
def exported(root: Path) -> dict[str, str]:
    """Public name -> module, for everything that a module of ``course_lib`` defines at its top. Read, not imported."""
    names: dict[str, str] = {}
    for path in sorted((root / "course_lib").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text("utf-8")).body:
            for name in _bound(node):
                # One letter is a size (B, T, D, ...) or a type variable, and nobody's property.
                if len(name) > 1 and not name.startswith("_") and not isinstance(node, ast.Import | ast.ImportFrom):
                    names.setdefault(name, module)
    return names


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds where it stands; not those inside the functions and classes that it defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    if isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _defined_in(node: ast.AST) -> Iterator[str]:
    """The functions and classes that are defined inside a statement, at any depth, but no methods."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.ClassDef) or (is_function and not isinstance(node, ast.ClassDef)):
            yield child.name  # type: ignore[attr-defined]
        yield from _defined_in(child)


def nothing_exported_is_redefined(page: Page) -> Iterator[str]:
    """A name of the library means the library's thing. Functions and classes at any depth, other names at the top."""
    names = exported(page.root)
    for i, cell in page.code():
        for node in (python_of(cell) or NOTHING).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "course_lib":
                continue
            for name in sorted({*_bound(node), *_defined_in(node)} & set(names)):
                yield f"{page.place(i)} redefines {name!r} of {names[name]}: import it, or rename this one"


def no_cell_asks_for_the_device(page: Page) -> Iterator[str]:
    """One code for all machines: ``best_device()`` and ``scale().choose(laptop=..., gpu=...)`` decide, no cell does."""
    for i, cell in page.code():
        for node in ast.walk(python_of(cell) or NOTHING):
            if isinstance(node, ast.If | ast.IfExp | ast.While) and re.search(
                r"gpu|cuda|\bmps\b|COURSE_SCALE|device|scale\(\)", ast.unparse(node.test), flags=re.IGNORECASE
            ):
                yield f"{page.place(i)} asks {ast.unparse(node.test)!r}: use scale().choose(...)"
            elif isinstance(node, ast.Attribute) and node.attr in {"cuda", "mps"}:
                yield f"{page.place(i)} uses {ast.unparse(node)!r}: use best_device() and .to(device)"
            elif isinstance(node, ast.Constant) and re.fullmatch(r"(cuda|mps)(:\d+)?", str(node.value)):
                yield f"{page.place(i)} names the device {node.value!r}: use best_device()"


def code_cells_are_short(page: Page) -> Iterator[str]:
    for i, cell in page.code():
        if (lines := len(cell.source.strip().splitlines())) > MOST_LINES:
            yield f"{page.place(i)} has {lines} lines, more than {MOST_LINES}: split it, or move code to the library"


# --- the file --------------------------------------------------------------------------------------------------------


def metadata_is_clean(page: Page) -> Iterator[str]:
    """Nothing that differs from run to run or machine to machine. ``python course.py notebooks`` cleans all of it."""
    notebook = page.notebook
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        yield f"nbformat is {notebook.nbformat}.{notebook.nbformat_minor}, not 4.5: open and save it in JupyterLab"
    if extra := sorted(set(notebook.metadata) - {"kernelspec", "language_info"}):
        yield f"the notebook has metadata {extra}: remove it"
    if notebook.metadata.get("kernelspec") != KERNEL:
        yield f"kernelspec is {notebook.metadata.get('kernelspec')}, not {KERNEL}"
    if "version" in notebook.metadata.get("language_info", {}):
        yield "language_info.version names the Python of one machine: remove it"
    if notebook.metadata.get("language_info", {}).get("name") != "python":
        yield "language_info.name is not 'python'"
    seen = set()
    for i, cell in enumerate(notebook.cells):
        if not cell.get("id"):
            yield f"{page.place(i)} has no id"
        elif cell.id in seen:
            yield f"{page.place(i)} has the id {cell.id!r} of an earlier cell"
        seen.add(cell.get("id"))
        if extra := sorted(set(cell.metadata) - CELL_METADATA):
            yield f"{page.place(i)} has metadata {extra}: remove it (times, folding, another editor's marks)"
        for data, metadata in data_of(cell) if cell.cell_type == "code" else []:
            if extra := sorted(key for key in metadata if "/" not in key):
                yield f"{page.place(i)} has an output with metadata {extra}: remove it"
            if WIDGET_VIEW in data:
                yield f"{page.place(i)} stores the view of a widget, whose id is new in each run: remove it"
    for error in nbformat.validator.iter_validate(notebook):
        yield f"no valid notebook: {str(error).splitlines()[0]}"


def the_file_is_stored_as_jupyter_stores_it(page: Page) -> Iterator[str]:
    """The same bytes that JupyterLab and ``course.py notebooks`` write, so that running it leaves no diff."""
    if page.path.read_text("utf-8") != nbformat.v4.writes(page.notebook) + "\n":
        yield "the file is not as Jupyter writes it: run python course.py notebooks"


# --- outputs ---------------------------------------------------------------------------------------------------------

NOT_IN_OUTPUTS = {
    r"(?<![\w.])/(?:home|Users|root|tmp|var|opt|usr|mnt|private|srv|work|content)/\w": "a path of one machine",
    r"\b[A-Za-z]:\\\w": "a path of one machine",
    r"site-packages|dist-packages|ipykernel_\d|<ipython-input": "a path of one machine",
    r"Traceback \(most recent call last\)": "a traceback (catch the error, and print what it says)",
    r"\bat 0x[0-9a-fA-F]{6,}|\b0x[0-9a-fA-F]{9,16}\b": "the address of an object",
    r"CPU times:|Wall time:|per loop \(mean|[\d.]+ ?(?:it/s|s/it)\b": "a time",
}


def outputs_hold_nothing_of_one_machine_or_one_run(page: Page) -> Iterator[str]:
    for i, cell in page.code():
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                first = output.text.strip().splitlines()[:1]
                yield f"{page.place(i)} writes to stderr {first}: a warning, or a progress bar as text"
            text = "\n".join(texts_of(output))
            for pattern, what in NOT_IN_OUTPUTS.items():
                if found := re.search(pattern, text):
                    around = text[max(found.start() - 20, 0) : found.end() + 20]
                    yield f"{page.place(i)} shows {what}: {around!r}"
            for place in {str(page.root), str(Path.home())} - {"/"}:
                if place in text:
                    yield f"{page.place(i)} shows a path of this machine: {place!r}"


def has_image(cell: NotebookNode) -> bool:
    if cell.cell_type != "code":
        return False
    return any(mime in data or _images_in_html(data) for data, _ in data_of(cell) for mime in IMAGES)


def _images_in_html(data: dict[str, Any]) -> bool:
    return bool(re.search(r"<(img|svg)\b", data.get("text/html", "")))


def every_figure_has_a_caption_or_alt_text(page: Page) -> Iterator[str]:
    """The cell after a figure is Markdown and starts with ``**Figure``: what is drawn, and what it shows, in words.

    Instead, every image in the output may carry alt text in its metadata: {"image/png": {"alt": "..."}}.
    """
    for i, cell in page.code():
        if not has_image(cell):
            continue
        below = page.notebook.cells[i + 1] if i + 1 < len(page.notebook.cells) else None
        caption = below.source if below is not None and below.cell_type == "markdown" else ""
        captioned = re.match(r"\*\*Figure\b", caption) and len(caption.split()) >= 6
        if not captioned and not all(_has_alt(data, metadata) for data, metadata in data_of(cell)):
            yield (
                f"{page.place(i)} shows a figure without words: let the next cell be Markdown that starts with "
                "'**Figure N.** ' and says what is seen, or give the output alt text"
            )


def _has_alt(data: dict[str, Any], metadata: dict[str, Any]) -> bool:
    images = [mime for mime in IMAGES if mime in data]
    links = _Links()
    links.feed(data.get("text/html", ""))
    return all(str(metadata.get(mime, {}).get("alt", "")).strip() for mime in images) and not links.images_without_alt


def every_figure_stands_beside_an_assert(page: Page) -> Iterator[str]:
    """nbval compares no image. So what a figure shows is asserted: in its cell, or in the code cell before or after."""
    code = page.code()
    asserts = [any(isinstance(n, ast.Assert) for n in ast.walk(python_of(c) or NOTHING)) for _, c in code]
    for at, (i, cell) in enumerate(code):
        if has_image(cell) and not any(asserts[max(at - 1, 0) : at + 2]):
            yield (
                f"{page.place(i)} shows a figure and nothing is asserted: images are not compared, so assert what it "
                "shows, in this code cell or in the one before or after it"
            )


_WIDGET = re.compile(
    r"\s*(interactive|{})\(".format(
        "|".join(name for name in dir(ipywidgets) if isinstance(getattr(ipywidgets, name), type))
    )
)


def is_interactive(cell: NotebookNode) -> bool:
    """Does the cell show a widget? (A bar of tqdm is none: it shows itself as text such as ``50%|###  |``.)"""
    for data, _ in data_of(cell):
        text = data.get("text/plain", "")
        if _WIDGET.match(text) or (WIDGET_VIEW in data and not re.match(r"\s*(.*:\s*)?\d+%\|", text)):
            return True
    return False


def every_widget_has_a_static_twin(page: Page) -> Iterator[str]:
    """In print and on GitHub a widget is empty: a figure stands in its cell or in one of the two cells below it."""
    for i, cell in page.code():
        if is_interactive(cell) and not any(map(has_image, page.notebook.cells[i : i + 3])):
            yield f"{page.place(i)} shows a widget and no figure follows: draw one of its states within two cells"


# --- the prose -------------------------------------------------------------------------------------------------------

HEADER = {
    r"\byou (can|will be able to)\b": "what you will be able to do ('After this chapter you can ...')",
    r"\bneed\b": "what you need first ('You need ...')",
    r"\d+ minutes? to read": "the minutes to read ('45 minutes to read ...')",
    r"\d+ (seconds?|minutes?) of CPU": "the time of CPU ('15 seconds of CPU')",
    r"\bGPU\b": "whether a GPU helps",
}
FOOTER = {
    r"\bexercises?\b": "the exercises",
    r"\b(next|onward)\b": "one pointer onward ('Next: ...')",
    r"\bpapers?\b": "the papers",
}


def a_chapter_has_its_header_and_its_footer(page: Page) -> Iterator[str]:
    """The header is all that stands before the first ``## ``, the footer all from the last heading with "remember"."""
    cells = page.notebook.cells
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        yield "the first cell is not Markdown that starts with '# ' and the title"
        return
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    header = re.split(r"^## ", prose, flags=re.MULTILINE)[0]
    yield from (f"the header (before the first '## ') does not say {what}" for what in _missing(HEADER, header))
    parts = re.split(r"^#+ .*\bremember\b.*$", prose, flags=re.MULTILINE | re.IGNORECASE)
    if len(parts) == 1:
        yield "there is no heading with 'remember' over the last part ('## To remember')"
        return
    yield from (f"the footer (from 'remember' on) does not name {what}" for what in _missing(FOOTER, parts[-1]))
    first_list: Any = next((token for token in _markdown(parts[-1]) if token["type"] == "list"), {"children": []})  # type: ignore[index]
    if len(first_list["children"]) != 3:
        yield f"the list under 'remember' has {len(first_list['children'])} items: three sentences to remember"


def _missing(patterns: dict[str, str], text: str) -> list[str]:
    return [what for pattern, what in patterns.items() if not re.search(pattern, text, flags=re.IGNORECASE)]


class _Links(HTMLParser):
    """Links, images and ids in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.images_without_alt: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.targets += [found[key] or "" for key in ("href", "src") if key in found]
        self.ids += [found[key] or "" for key in ("id", "name") if key in found]
        if tag == "img" and not (found.get("alt") or "").strip():
            self.images_without_alt.append(found.get("src") or "")


@dataclass(frozen=True)
class Prose:
    """What a Markdown text links to, its headings, and its images that say nothing to those who cannot see them."""

    targets: list[str]
    headings: list[str]
    ids: list[str]
    images_without_alt: list[str]


_markdown = mistune.create_markdown(renderer="ast", plugins=["table", "math", "strikethrough"])


def prose_of(text: str) -> Prose:
    html, targets, headings, silent = _Links(), [], [], []
    tokens: list[Any] = list(_markdown(text))
    while tokens:
        token = tokens.pop(0)
        if token["type"] in {"link", "image"}:
            targets.append(token["attrs"]["url"])
        if token["type"] == "image" and not _plain(token).strip():
            silent.append(token["attrs"]["url"])
        if token["type"] == "heading":
            headings.append(_plain(token))
        if token["type"] in {"inline_html", "block_html"}:
            html.feed(token["raw"])
        tokens = [*token.get("children", []), *tokens]
    return Prose([*targets, *html.targets], headings, html.ids, [*silent, *html.images_without_alt])


def _plain(token: dict[str, Any]) -> str:
    return token.get("raw", "") + "".join(map(_plain, token.get("children", [])))


@functools.cache
def anchors(path: Path) -> set[str]:
    """The places in a file that ``#...`` can point to: JupyterLab's names in a notebook, GitHub's in Markdown."""
    if path.suffix == ".ipynb":
        cells = nbformat.v4.reads(path.read_text("utf-8")).cells
        parts = [prose_of(cell.source) for cell in cells if cell.cell_type == "markdown"]
        return {name for part in parts for name in (*part.ids, *(h.replace(" ", "-") for h in part.headings))}
    prose = prose_of(path.read_text("utf-8"))
    names = [re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in prose.headings]
    return {*prose.ids, *(n if (k := names[:i].count(n)) == 0 else f"{n}-{k}" for i, n in enumerate(names))}


def broken_links(text: str, path: Path, root: Path) -> Iterator[str]:
    """The links in a Markdown text, standing in the file ``path``, that lead nowhere inside the repository."""
    for target in map(unquote, prose_of(text).targets):
        place, _, anchor = target.partition("#")
        if re.match(r"(https?|mailto|attachment):", target):
            continue
        goal = (path.parent / place).resolve() if place else path
        if place.startswith("/") or not goal.is_relative_to(root):
            yield f"the link {target!r} leaves the repository: link relative to this file"
        elif not goal.exists():
            yield f"the link {target!r} leads nowhere"
        elif anchor and goal.suffix in {".ipynb", ".md"} and anchor not in anchors(goal):
            yield f"the link {target!r} names a heading that {goal.name} does not have"


def every_link_resolves(page: Page) -> Iterator[str]:
    for i, cell in enumerate(page.notebook.cells):
        if cell.cell_type == "markdown":
            yield from (f"{page.place(i)}: {p}" for p in broken_links(cell.source, page.path, page.root))
            given = {f"attachment:{name}" for name in cell.get("attachments", {})}
            attached = {target for target in prose_of(cell.source).targets if target.startswith("attachment:")}
            yield from (f"{page.place(i)}: {unquote(name)!r} is not attached" for name in sorted(attached - given))


def every_image_in_the_prose_has_alt_text(page: Page) -> Iterator[str]:
    for i, cell in enumerate(page.notebook.cells):
        for image in prose_of(cell.source).images_without_alt if cell.cell_type == "markdown" else []:
            yield f"{page.place(i)}: the image {image[:60]!r} has no alt text"


def markdown_files(root: Path) -> list[Path]:
    """README.md and every other .md of the repository; not those of packages and tools that lie in it."""
    tools = {"node_modules", "build", "dist"}
    files = [path.relative_to(root) for path in root.rglob("*.md")]
    ours = [p for p in files if not any(part.startswith(".") or part in tools for part in p.parts[:-1])]
    return sorted(root / path for path in ours)


RULES: list[Callable[[Page], Iterator[str]]] = [
    every_cell_was_run_in_order,
    no_cell_is_skipped,
    each_exception_from_comparing_names_its_reason,
    nothing_exported_is_redefined,
    no_cell_asks_for_the_device,
    code_cells_are_short,
    metadata_is_clean,
    the_file_is_stored_as_jupyter_stores_it,
    outputs_hold_nothing_of_one_machine_or_one_run,
    every_figure_has_a_caption_or_alt_text,
    every_figure_stands_beside_an_assert,
    every_widget_has_a_static_twin,
    every_link_resolves,
    every_image_in_the_prose_has_alt_text,
]
CHAPTER_RULES: list[Callable[[Page], Iterator[str]]] = [a_chapter_has_its_header_and_its_footer]
