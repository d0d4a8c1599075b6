"""Bugs in training: schedules, the loop, callbacks, checkpoints, folders on disk, sources of batches, processes."""

from tests.planted.planting import Bug

SCHEDULES = ("tests/training/test_schedules.py",)
LOOP = ("tests/training/test_loop.py",)
CHECKPOINTS = ("tests/training/test_checkpoints.py",)
PROCESSES = ("tests/training/test_distributed.py",)
MEASURING = ("tests/training/test_measuring.py",)
KILL = ("tests/training/test_kill.py",)
STORAGE = ("tests/models/test_storage.py",)
TENSORS = ("tests/models/test_tensors.py",)
BATCHES = ("tests/data/test_batches.py",)

SCHEDULE_FILE = "course_lib/training/schedules.py"
LOOP_FILE = "course_lib/training/loop.py"
CALLBACKS_FILE = "course_lib/training/callbacks.py"
CHECKPOINTS_FILE = "course_lib/training/checkpoints.py"
PROCESSES_FILE = "course_lib/training/distributed.py"
MEASURING_FILE = "course_lib/training/measuring.py"
STORAGE_FILE = "course_lib/models/storage.py"
TENSORS_FILE = "course_lib/models/tensors.py"
BATCHES_FILE = "course_lib/data/batches.py"

BUGS = [
    # --- schedules
    Bug(
        "the first step is wasted on a rate of 0",
        SCHEDULE_FILE,
        "(step + 1) / (warmup + 1)",
        "step / warmup",
        SCHEDULES,
    ),
    Bug("the decay begins at the first step", SCHEDULE_FILE, "(step - warmup) / (steps", "step / (steps", SCHEDULES),
    Bug("the decay ends too early", SCHEDULE_FILE, "/ (steps - warmup))", "/ (steps - warmup - 1))", SCHEDULES),
    Bug("the cosine ends at 0", SCHEDULE_FILE, "to + (1 - to) * (1 + math.cos", "(1 + math.cos", SCHEDULES),
    # --- the loop
    Bug(
        "a mean of means: accumulated batches weigh the same",
        LOOP_FILE,
        "            total.backward()",
        "            (total / count * (targets := 10)).backward()",
        LOOP,
    ),
    Bug(
        "the last micro-batch alone is counted", LOOP_FILE, "process.sum(sum(counts))", "process.sum(counts[-1])", LOOP
    ),
    Bug("gradients are not set to zero", LOOP_FILE, "                optimiser.zero_grad()\n", "", LOOP),
    Bug("gradients from before are trained on", LOOP_FILE, "    model.zero_grad()\n", "", LOOP),
    Bug("each gradient is clipped longer, never shorter", LOOP_FILE, ".clamp(max=1)", ".clamp(min=1)", LOOP),
    Bug("all gradients get the length of the clip", LOOP_FILE, ".clamp(max=1)", "", LOOP),
    Bug(
        "the norm is that of the sum",
        LOOP_FILE,
        "nn.utils.get_total_norm(gradients) * factor",
        "nn.utils.get_total_norm(gradients)",
        LOOP,
    ),
    Bug(
        "rates shrink from step to step",
        LOOP_FILE,
        '        group["lr"] = rate * factor',
        '        group["lr"] *= factor',
        LOOP,
    ),
    Bug("the rates do not come back", LOOP_FILE, '            group["lr"] = rate\n', "            pass\n", LOOP),
    Bug(
        "the schedule is one step ahead",
        LOOP_FILE,
        "schedule, run.step, steps)",
        "schedule, run.step + 1, steps)",
        LOOP,
    ),
    Bug("bfloat16 is ignored", LOOP_FILE, 'enabled=precision == "bfloat16"', "enabled=False", LOOP),
    Bug(
        "a step is made on a loss that is no number",
        LOOP_FILE,
        "if run.step % READ_EVERY.get(process.device.type, 20) == 0:",
        "if run.step and run.step % 20 == 0:",
        LOOP,
    ),
    Bug(
        "dropout stays off after a callback",
        LOOP_FILE,
        "                model.train()  # a callback",
        "                # a callback",
        LOOP,
    ),
    Bug(
        "the second callback is not called",
        LOOP_FILE,
        "[callback(progress) for callback in callbacks]",
        "(callback(progress) for callback in callbacks)",
        LOOP,
    ),
    Bug(
        "one optimiser alone steps",
        LOOP_FILE,
        "            for optimiser in optimisers:\n",
        "            for optimiser in optimisers[:1]:\n",
        LOOP,
    ),
    Bug(
        "a frozen or forgotten parameter is not noticed", LOOP_FILE, "if held[id(p)] != 1:", "if held[id(p)] > 1:", LOOP
    ),
    Bug(
        "the bar shows itself at once",
        LOOP_FILE,
        "    late = late_bar()\n",
        "    late = {**late_bar(), 'delay': 0}\n",
        LOOP,
    ),
    # --- history and callbacks
    Bug(
        "a checkpoint is written before the losses are read",
        CALLBACKS_FILE,
        '{"losses": self.losses, "norms": self.gradient_norms, ',
        '{"losses": self._losses, "norms": self._norms, ',
        LOOP,
    ),
    Bug(
        "a gradient that is no number passes",
        CALLBACKS_FILE,
        "not math.isfinite(total) or not math.isfinite(norm)",
        "not math.isfinite(total)",
        LOOP,
    ),
    Bug("infinity passes as a loss", CALLBACKS_FILE, "if not math.isfinite(total) or", "if math.isnan(total) or", LOOP),
    Bug(
        "the error names the step before",
        CALLBACKS_FILE,
        "len(self._losses) + 1, total",
        "len(self._losses), total",
        LOOP,
    ),
    Bug(
        "losses are those of the sum",
        CALLBACKS_FILE,
        "self._losses.append(total / count)",
        "self._losses.append(total)",
        LOOP,
    ),
    Bug("evaluations see dropout", CALLBACKS_FILE, "            progress.model.eval()\n", "", LOOP),
    Bug("no evaluation after the last step", CALLBACKS_FILE, " or progress.step == progress.steps", "", LOOP),
    Bug("patience ends one evaluation early", CALLBACKS_FILE, "> self.patience", ">= self.patience", LOOP),
    Bug(
        "the last of equal values counts as the lowest",
        CALLBACKS_FILE,
        "values.index(min(values))",
        "values[::-1].index(min(values))",
        LOOP,
    ),
    # --- checkpoints
    Bug("the optimisers begin anew", CHECKPOINTS_FILE, '{"state": by_number,', '{"state": {},', CHECKPOINTS),
    Bug(
        "random numbers begin anew",
        CHECKPOINTS_FILE,
        '    set_random_states(state["random"][run.process.rank])\n',
        "",
        CHECKPOINTS,
    ),
    Bug(
        "the data begin anew", CHECKPOINTS_FILE, '    run.batches.load_state_dict(state["batches"])\n', "", CHECKPOINTS
    ),
    Bug(
        "the history begins anew",
        CHECKPOINTS_FILE,
        '    run.history.load_state_dict(state["history"])\n',
        "",
        CHECKPOINTS,
    ),
    Bug(
        "an ended training is run again",
        CHECKPOINTS_FILE,
        'run.step, run.stopped = state["step"], state["stopped"]',
        'run.step = state["step"]',
        CHECKPOINTS,
    ),
    Bug(
        "the checkpoint after the last step is left out", CHECKPOINTS_FILE, " or run.step == run.steps", "", CHECKPOINTS
    ),
    Bug(
        "old checkpoints pile up",
        CHECKPOINTS_FILE,
        "self.found()[: -self.keep]",
        "self.found()[: -self.keep - 1]",
        CHECKPOINTS,
    ),
    Bug(
        "steps are sorted as words",
        CHECKPOINTS_FILE,
        "key=lambda path: int(path.name[5:])",
        "key=lambda path: path.name",
        CHECKPOINTS,
    ),
    Bug(
        "from a damaged checkpoint it silently goes back",
        CHECKPOINTS_FILE,
        "        newest = found.pop()\n",
        "        while not _is_whole(newest := found.pop()):\n            pass\n",
        CHECKPOINTS,
    ),
    Bug(
        "a damaged older checkpoint is named as whole",
        CHECKPOINTS_FILE,
        "for path in reversed(found) if _is_whole(path)",
        "for path in reversed(found)",
        CHECKPOINTS,
    ),
    Bug("other settings pass", CHECKPOINTS_FILE, 'if now != state["settings"][name]:', "if False:", CHECKPOINTS),
    Bug(
        "what a killed process left stays",
        CHECKPOINTS_FILE,
        "                discard(leftover)",
        "                pass",
        CHECKPOINTS,
    ),
    Bug(
        "NumPy's random numbers begin anew",
        "course_lib/runtime.py",
        "    np.random.set_state((kind,",
        "    ((kind,",
        CHECKPOINTS,
    ),
    # --- folders on disk
    Bug(
        "a folder is written in its place",
        STORAGE_FILE,
        '    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")',
        "    aside = path",
        KILL,
    ),
    Bug(
        "a folder is removed under its own name",
        STORAGE_FILE,
        "        folder.rename(aside)\n",
        "        shutil.copytree(folder, aside)\n        shutil.rmtree(folder)\n",
        STORAGE,
    ),
    Bug("the folder is renamed before it is on the disk", STORAGE_FILE, "        _flush(aside)\n", "", STORAGE),
    Bug("the new name is not on the disk", STORAGE_FILE, "        _flush(path.parent)\n", "", STORAGE),
    Bug(
        "half a folder stays where writing fails",
        STORAGE_FILE,
        "        discard(aside)\n        raise",
        "        raise",
        STORAGE,
    ),
    Bug(
        "changed bytes pass",
        STORAGE_FILE,
        '!= written["sha256"]:',
        '!= written["sha256"] and len(data) > 10**6:',
        STORAGE,
    ),
    Bug("changed facts pass", STORAGE_FILE, " and _sealed(content) == data:", ":", STORAGE),
    Bug(
        "the seal leaves the layout out",
        STORAGE_FILE,
        "_sealed(content) == data:",
        "json.loads(_sealed(content)) == json.loads(data):",
        STORAGE,
    ),
    Bug(
        "an additional file passes",
        STORAGE_FILE,
        "sorted(files.keys() ^ present)",
        "sorted(files.keys() - present)",
        STORAGE,
    ),
    Bug(
        "a folder of the user's is replaced",
        STORAGE_FILE,
        "    if path.exists() and not (path / FACTS).is_file():",
        "    if False:",
        STORAGE,
    ),
    Bug(
        "a pickle is opened",
        STORAGE_FILE,
        "safetensors.torch.load(data).items()",
        "(__import__('torch').load(__import__('io').BytesIO(data), weights_only=False)"
        " if data.startswith(b'PK') else safetensors.torch.load(data)).items()",
        STORAGE,
    ),
    Bug("tensors come in any order", STORAGE_FILE, "dict(sorted(", "dict((lambda items: items)(", STORAGE),
    Bug("tied weights are stored twice", TENSORS_FILE, "        if place not in seen:", "        if True:", TENSORS),
    Bug(
        "weights that look alike are taken for one",
        TENSORS_FILE,
        "(tensor.data_ptr(), tensor.shape, tensor.stride())",
        "tensor.sum().item()",
        TENSORS,
    ),
    Bug("weights of another dtype pass", TENSORS_FILE, "{tensor.dtype} {tuple", "{tuple", TENSORS),
    # --- sources of batches
    Bug(
        "the rest of an epoch is left out",
        BATCHES_FILE,
        "numbers = torch.cat([numbers, self._order[:absent]])",
        "numbers = self._order[(absent := self._batch_size) - self._batch_size : absent]",
        BATCHES,
    ),
    Bug(
        "all epochs have the same order",
        BATCHES_FILE,
        "_order(self._rows, self._generator)",
        "_order(self._rows, seeded_generator(0))",
        BATCHES,
    ),
    Bug(
        "an epoch that is resumed begins anew",
        BATCHES_FILE,
        '        self._position = state["position"]\n',
        "",
        BATCHES,
    ),
    Bug("the state of other batches passes", BATCHES_FILE, 'if own != state.get("made_of"):', "if False:", BATCHES),
    # --- several processes
    Bug("every process takes all rows", PROCESSES_FILE, "t[self.rank :: self.world]", "t", PROCESSES),
    Bug(
        "rows of all but the first process are lost",
        PROCESSES_FILE,
        "t[self.rank :: self.world]",
        "t[:: self.world]",
        PROCESSES,
    ),
    Bug("gradients are the mean over processes", LOOP_FILE, "factor = world / count", "factor = 1 / count", PROCESSES),
    Bug(
        "each process divides by its own targets",
        LOOP_FILE,
        "process.sum(sum(counts))",
        "sum(counts) * process.world",
        PROCESSES,
    ),
    Bug(
        "the processes are not connected",
        PROCESSES_FILE,
        "        if self.world == 1:\n            return module",
        "        if self.world:\n            return module",
        PROCESSES,
    ),
    Bug("each process stops on its own", LOOP_FILE, "process.any(any(answers))", "any(answers)", PROCESSES),
    Bug(
        "every process writes",
        CHECKPOINTS_FILE,
        "        if run.process.first:\n            tensors, facts",
        "        if True:\n            tensors, facts",
        PROCESSES,
    ),
    Bug(
        "all processes go on with the random numbers of the first",
        CHECKPOINTS_FILE,
        'state["random"][run.process.rank]',
        'state["random"][0]',
        PROCESSES,
    ),
    Bug(
        "DistributedDataParallel sees the model alone",
        LOOP_FILE,
        "process.parallel(_Loss(model, loss))",
        "_Loss(process.parallel(model), loss)",
        PROCESSES,
    ),
    Bug(
        "a parameter without a gradient goes on to the next step",
        LOOP_FILE,
        "        _check_all_reached(loss_of.module.model)\n",
        "        pass\n",
        PROCESSES,
    ),
    Bug(
        "sources of all kinds have one state",
        BATCHES_FILE,
        '{"kind": type(self).__name__, "rows"',
        '{"kind": "batches", "rows"',
        BATCHES,
    ),
    Bug("the order of texts is where the texts are", BATCHES_FILE, ".sum(dim=1).cpu()  #", ".sum(dim=1)  #", BATCHES),
    Bug(
        "a plain tuple is taken for a NamedTuple",
        BATCHES_FILE,
        'type(batch)(*tensors) if hasattr(batch, "_fields") else type(batch)(tensors)',
        "type(batch)(*tensors)",
        BATCHES,
    ),
    Bug(
        "an array must run forwards",
        BATCHES_FILE,
        "ids.copy() if min(ids.strides, default=0) < 0 else ids",
        "ids",
        BATCHES,
    ),
    # --- measuring
    Bug("dropout while measuring", MEASURING_FILE, "    with evaluating(model):\n", "    if True:\n", MEASURING),
    Bug("measuring keeps gradients", MEASURING_FILE, "@torch.no_grad()\n", "", MEASURING),
    Bug("batches stay where they are", MEASURING_FILE, "process.share(batch))", "batch)", MEASURING),
    Bug(
        "afterwards the whole model is in training",
        MEASURING_FILE,
        "training = [module for module in model.modules() if module.training]",
        "training = [*model.modules()]",
        MEASURING,
    ),
    Bug(
        "after an error the model stays in evaluation",
        MEASURING_FILE,
        "    try:\n        yield\n    finally:\n        for module in training:\n            module.training = True",
        "    yield\n    for module in training:\n        module.training = True",
        MEASURING,
    ),
]
