"""Bugs in what the classroom needs: checks, hints, progress, the source shown."""

from tests.planted.planting import Bug

SOURCE = ("tests/notebooks/test_show_source.py",)
CATALOGUE = ("tests/exercises/test_catalogue.py",)
RELEASE = ("tests/exercises/test_release.py",)
CALLING = ("tests/workshop/exercises/test_calling.py",)
CHECKING = ("tests/workshop/exercises/test_checking.py",)
COMPARING = ("tests/workshop/exercises/test_comparing.py",)
HINTS = ("tests/workshop/exercises/test_hints.py",)
PROGRESS = ("tests/workshop/exercises/test_progress.py",)
STEPS = ("tests/workshop/exercises/test_steps.py",)

BUGS = [
    Bug(
        "a method is shown with the indent of its class",
        "course_lib/workshop/source.py",
        "return textwrap.dedent(source).rstrip()",
        "return source.rstrip()",
        SOURCE,
    ),
    Bug(
        "backticks in the source close the block",
        "course_lib/workshop/source.py",
        'fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))',
        'fence = "`" * 3',
        SOURCE,
    ),
    Bug(
        "a mistake is named that explains only some of the wrong cases",
        "course_lib/workshop/exercises/steps.py",
        "if telling and not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        "if telling and not all(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        STEPS,
    ),
    Bug(
        "a mistake that never shows is named",
        "course_lib/workshop/exercises/steps.py",
        "if telling and not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        "if not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        STEPS,
    ),
    Bug(
        "the reference works on inputs that a mistake has changed",
        "course_lib/workshop/exercises/steps.py",
        "        inputs = copy.deepcopy(case)\n",
        "        inputs = case\n",
        STEPS,
    ),
    Bug(
        "any error on a broken implementation counts as caught",
        "course_lib/workshop/exercises/steps.py",
        "if may_raise and any(code is _code(implementation) for code, _ in frames_of(error.__traceback__)):",
        "if may_raise:",
        STEPS,
    ),
    Bug(
        "a test that refuses everything is praised for what it catches",
        "course_lib/workshop/exercises/steps.py",
        '        if not any(accepted):\n            raise Wrong("refuses_everything")\n',
        "",
        STEPS,
    ),
    Bug(
        "who has the library do the exercise is praised for it",
        "course_lib/workshop/exercises/steps.py",
        "        if called.called:\n",
        "        if not called:\n",
        STEPS,
    ),
    Bug(
        "the learner draws other random numbers than the reference",
        "course_lib/workshop/exercises/steps.py",
        "        seed_a_call()\n        result = (on_behalf",
        "        result = (on_behalf",
        STEPS,
    ),
    Bug(
        "the learner's code works on our own inputs",
        "course_lib/workshop/exercises/calling.py",
        "copied_args, copied_kwargs = copy.deepcopy((args, kwargs))",
        "copied_args, copied_kwargs = args, kwargs",
        CALLING,
    ),
    Bug(
        "a list inside the input may change unseen",
        "course_lib/workshop/exercises/calling.py",
        "return len(now) == len(before) and all(map(is_unchanged, now, before))",
        "return len(now) == len(before)",
        CALLING,
    ),
    Bug(
        "an endless loop that swallows one exception is left running",
        "course_lib/workshop/exercises/calling.py",
        "            if self.finished.wait(0.02):\n                return\n",
        "            self.finished.wait(STOP_SECONDS)\n            return\n",
        CALLING,
    ),
    Bug(
        "a loop that swallows Exception swallows the deadline",
        "course_lib/workshop/exercises/calling.py",
        "class OutOfTimeError(BaseException):",
        "class OutOfTimeError(Exception):",
        CALLING,
    ),
    Bug(
        "a check draws from the random numbers of the cells below",
        "course_lib/workshop/exercises/calling.py",
        "        stack.enter_context(torch.random.fork_rng(devices=[]))\n",
        "",
        CALLING,
    ),
    Bug(
        "gradients are always on in the worker",
        "course_lib/workshop/exercises/calling.py",
        "torch.set_grad_enabled(self._gradients):",
        "torch.set_grad_enabled(True):",
        CALLING,
    ),
    Bug(
        "an error inside PyTorch shows PyTorch's line",
        "course_lib/workshop/exercises/calling.py",
        "        if _wrote_it(code, chapter_file) and (text",
        "        if (text",
        CHECKING,
    ),
    Bug(
        "an error that PyTorch raises passes for a stub",
        "course_lib/workshop/exercises/calling.py",
        "return isinstance(error, NotImplementedError) and not error.args",
        "return isinstance(error, NotImplementedError)",
        CHECKING,
    ),
    Bug(
        "a missing value is no difference",
        "course_lib/workshop/exercises/comparing.py",
        "if math.isfinite(want) and not math.isfinite(got):",
        "if math.isinf(got):",
        COMPARING,
    ),
    Bug(
        "the coarse tolerance of half precision holds for float32",
        "course_lib/workshop/exercises/comparing.py",
        "return max(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        "return max(_TOLERANCES.values())",
        COMPARING,
    ),
    Bug(
        "float32 is held to the tolerance of float64",
        "course_lib/workshop/exercises/comparing.py",
        "return max(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        "return min(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        COMPARING,
    ),
    Bug(
        "values on another device are compared before the device",
        "course_lib/workshop/exercises/comparing.py",
        "if got.device != want.device:",
        "if got.device.type == want.device.type and got.device != want.device:",
        COMPARING,
    ),
    Bug(
        "what was right becomes wrong again",
        "course_lib/workshop/exercises/keeping.py",
        "\"SET state = CASE state WHEN 'right' THEN state ELSE excluded.state END\"",
        '"SET state = excluded.state"',
        PROGRESS,
    ),
    Bug(
        "a smaller hint makes the larger one forgotten",
        "course_lib/workshop/exercises/keeping.py",
        '"SET hints = max(hints, excluded.hints)"',
        '"SET hints = excluded.hints"',
        PROGRESS,
    ),
    Bug(
        "damage in the middle of the file is not looked for",
        "course_lib/workshop/exercises/keeping.py",
        'if file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):',
        'if file.execute("SELECT 1").fetchone() != (1,):',
        PROGRESS,
    ),
    Bug(
        "a file that another notebook holds is set aside as damaged",
        "course_lib/workshop/exercises/keeping.py",
        '_TROUBLES = "BUSY LOCKED PERM',
        '_TROUBLES = "PERM',
        PROGRESS,
    ),
    Bug(
        "two notebooks do not wait for each other",
        "course_lib/workshop/exercises/keeping.py",
        "WAIT_SECONDS = 5.0",
        "WAIT_SECONDS = 0.0",
        PROGRESS,
    ),
    Bug(
        "a wrong answer gets its points",
        "course_lib/workshop/exercises/checking.py",
        'if grading() and verdict.state != "right":',
        'if grading() and verdict.state == "raised":',
        CHECKING,
    ),
    Bug(
        "a broken chapter takes the others with it",
        "course_lib/workshop/exercises/checking.py",
        "            broken = broken or error\n            continue\n",
        "            raise error\n",
        CHECKING,
    ),
    Bug(
        "an unknown word in a text stops the check",
        "course_lib/workshop/exercises/catalogue.py",
        "    except (ValueError, IndexError, AttributeError, LookupError, TypeError):\n        return text\n",
        "    except ZeroDivisionError:\n        return text\n",
        CHECKING,
    ),
    Bug(
        "what the learner prints reaches the page unescaped",
        "course_lib/workshop/exercises/verdicts.py",
        "{html.escape(text)}</pre>",
        "{text}</pre>",
        HINTS,
    ),
    Bug(
        "a hint asked for by its number is always the next",
        "course_lib/workshop/exercises/hints.py",
        "    if number is None:\n        number = ",
        "    if number is None or number < 3:\n        number = ",
        HINTS,
    ),
    Bug(
        "the stub loses its indentation",
        "course_lib/workshop/exercises/release.py",
        'return f"{indentation}raise NotImplementedError"',
        'return "    raise NotImplementedError"',
        RELEASE,
    ),
    Bug(
        "old outputs stay beside new code",
        "course_lib/workshop/exercises/release.py",
        "if before and [cell.source for cell in before.cells] == [cell.source for cell in new.cells]:",
        "if before and len(before.cells) == len(new.cells):",
        RELEASE,
    ),
    Bug(
        "a general text loses its placeholder's value",
        "course_lib/workshop/exercises/comparing.py",
        'return Wrong("wrong_length", got=len(got), want=len(want), place=_at(place))',
        'return Wrong("wrong_length", found=len(got), want=len(want), place=_at(place))',
        CATALOGUE,
    ),
]
