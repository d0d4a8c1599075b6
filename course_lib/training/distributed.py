"""Several processes train one model: each works on some rows of every batch, and the gradients are added up.

    torchrun --nproc-per-node 2 my_training.py

    with distributed() as process:              # in my_training.py; without torchrun, this is one process
        model = GPT(config).to(process.device)
        train(model, ...)                       # as ever

Data parallelism as in Li et al. 2020, "PyTorch Distributed", section 3. Every process must draw the same batches (the
same seed): it takes its rows of them itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from course_lib.data.batches import AnyBatch, batch_like
from course_lib.runtime import best_device


@dataclass(frozen=True)
class Process:
    """Process number ``rank`` of ``world``, and the device that it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """The one that writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: AnyBatch) -> AnyBatch:
        """This process's rows of a batch, on its device."""
        if self.world > 1:
            sizes = dict.fromkeys(len(tensor) for tensor in batch)
            if len(sizes) > 1:
                given = ", ".join(map(str, sizes))
                raise ValueError(f"batches gave tensors with {given} rows: all must have the same number, to be shared")
            if min(sizes) < self.world:
                raise ValueError(f"batches gave {min(sizes)} row for {self.world} processes: each needs at least one")
        return batch_like(batch, (t[self.rank :: self.world].to(self.device, non_blocking=True) for t in batch))

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, so that a backward pass leaves the *mean* of the gradients of all processes in each."""
        if self.world == 1:
            return module
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def sum(self, number: Tensor) -> Tensor:
        """The sum of a number over all processes."""
        if self.world > 1:
            number = number.clone()
            dist.all_reduce(number)
        return number

    def any(self, flag: bool) -> bool:
        """Whether the flag is True in any process."""
        return self.sum(torch.tensor(int(flag))).item() > 0  # on the CPU: a GPU need not wait

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values


@contextmanager
def distributed() -> Iterator[Process]:
    """This process among those that torchrun started, connected to the others until the block ends."""
    if "LOCAL_RANK" not in os.environ:
        yield Process(0, 1, best_device())
        return
    device, backend = torch.device("cpu"), "gloo"
    if torch.cuda.is_available():
        # Small notes between the processes (gloo) need not wait for the GPU, gradients stay on it (nccl).
        device, backend = torch.device("cuda", int(os.environ["LOCAL_RANK"])), "cpu:gloo,cuda:nccl"
        if device.index >= torch.cuda.device_count():
            raise ValueError(f"--nproc-per-node is more than {torch.cuda.device_count()}, the number of GPUs here")
        torch.cuda.set_device(device)
    dist.init_process_group(backend)
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def this_process(device: torch.device) -> Process:
    """What ``distributed`` gave, or one process that is alone, computing on ``device``."""
    if dist.is_available() and dist.is_initialized():
        return Process(dist.get_rank(), dist.get_world_size(), device)
    return Process(0, 1, device)
