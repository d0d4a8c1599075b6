"""Bugs in what stands at the top of every notebook: seeds, device, threads, scale."""

from tests.planted.planting import Bug

RUNTIME = ("tests/test_runtime.py",)

BUGS = [
    Bug(
        "the seed forgets PyTorch",
        "course_lib/runtime.py",
        "    torch.manual_seed(seed)\n",
        "    torch.Generator().manual_seed(seed)\n",
        RUNTIME,
    ),
    Bug(
        "a Mac's GPU goes before NVIDIA's",
        "course_lib/runtime.py",
        '        if torch.cuda.is_available():\n            return torch.device("cuda")\n'
        '        if torch.backends.mps.is_available():\n            return torch.device("mps")\n',
        '        if torch.backends.mps.is_available():\n            return torch.device("mps")\n'
        '        if torch.cuda.is_available():\n            return torch.device("cuda")\n',
        RUNTIME,
    ),
    Bug(
        "an unknown scale counts as laptop",
        "course_lib/runtime.py",
        'case "" | "laptop":',
        'case name if name != "gpu":',
        RUNTIME,
    ),
    Bug(
        "the scale is chosen the wrong way round",
        "course_lib/runtime.py",
        'return laptop if self.name == "laptop" else gpu',
        'return gpu if self.name == "laptop" else laptop',
        RUNTIME,
    ),
    Bug(
        "COURSE_THREADS wins over the argument",
        "course_lib/runtime.py",
        "    if n is None:\n        name, text",
        '    if n is None or os.environ.get("COURSE_THREADS"):\n        name, text',
        RUNTIME,
    ),
    Bug(
        "bfloat16 pays at once where it is a little faster",
        "course_lib/runtime.py",
        "if share < 0.8:",
        "if share < 1:",
        RUNTIME,
    ),
    Bug(
        "a load during the last product decides about bfloat16",
        "course_lib/runtime.py",
        "best[i] = min(best[i], time.perf_counter() - start)",
        "best[i] = time.perf_counter() - start",
        RUNTIME,
    ),
]
