"""Show the library's code where it is used, so that a notebook never holds a copy of it."""

import functools
import inspect
import re
import textwrap
from types import ModuleType

from IPython.core.getipython import get_ipython
from IPython.display import display


def show_source(obj: object) -> None:
    """Show the source of a function, class, method, property or module of the library.

    In a notebook it is highlighted (as Markdown, so the colours follow the reader's theme); elsewhere it is printed.
    The first line names the module and no line number or path, so that the stored output changes with the code only.

    Raises TypeError for anything that was not written in Python, such as a built-in function or a finished object.
    """
    text = f"# from {_home(obj)}\n{_source(obj)}"
    if hasattr(get_ipython(), "kernel"):  # Jupyter; IPython in a terminal has none
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        display({"text/plain": text, "text/markdown": f"{fence}python\n{text}\n{fence}"}, raw=True)
    else:
        print(text)


def _code_of(obj: object) -> object:
    """What inspect can find: the function inside a property, a bound method, a cached function."""
    if isinstance(obj, property):
        return obj.fget
    if isinstance(obj, functools.cached_property):
        return obj.func
    return inspect.unwrap(obj) if callable(obj) else obj


def _home(obj: object) -> str:
    code = _code_of(obj)
    return code.__name__ if isinstance(code, ModuleType) else getattr(code, "__module__", "")


def _source(obj: object) -> str:
    try:
        source = inspect.getsource(_code_of(obj))  # type: ignore[arg-type]
    except (TypeError, OSError) as error:
        kind = type(obj).__name__
        if inspect.isroutine(obj) or inspect.isclass(obj) or inspect.ismodule(obj):
            reason = f"{getattr(obj, '__qualname__', kind)} has no source in Python that could be found"
        else:
            reason = f"this is a finished {kind}; for the code behind it, show its class"
        raise TypeError(f"obj must be a function, class, method, property or module: {reason}") from error
    return textwrap.dedent(source).rstrip()
