"""Several processes as torchrun starts them, forked from one that has imported PyTorch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from impcore import cli
from impcore.config import Config

# As `joined` does before PyTorch is imported.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["impcore.imp.registry", "impcore.rg.report", "impcore.command"])


@dataclass
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


class Processes:
    """`size` processes that call `target(*arguments)`; its return value is their exit code."""

    def __init__(self, target: Callable[..., int], *arguments: Any, logs: Path, size: int = 2):
        # Outlives the processes, as that of torchrun's agent does.
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        logs.mkdir(exist_ok=True)
        self._logs = [logs / str(rank) for rank in range(size)]
        self.all: list[BaseProcess] = []
        for rank, log in enumerate(self._logs):
            enter = (rank, size, self._store.port, log, target, arguments)
            self.all.append(_CONTEXT.Process(target=_enter, args=enter, daemon=True))
            self.all[-1].start()

    def end(self) -> list[Ended]:
        """Wait for all of them."""
        deadline = time.monotonic() + 120
        for process in self.all:
            process.join(deadline - time.monotonic())
        stuck = [process for process in self.all if process.is_alive()]
        for process in stuck:
            process.kill()
        said = [[log.with_suffix(s).read_text() for s in (".out", ".err")] for log in self._logs]
        ended = [Ended(p.exitcode or 0, *s) for p, s in zip(self.all, said, strict=True)]
        assert not stuck, ended
        return ended

    def kill_when(self, path: Path, signum: signal.Signals, rank: int) -> None:
        """Send `signum` to one as soon as `path` exists; fail if the run ends before."""
        deadline = time.monotonic() + 120
        while not path.exists():
            assert all(p.is_alive() for p in self.all), self.end()
            assert time.monotonic() < deadline, f"{path} never appeared"
            time.sleep(0.0005)
        os.kill(self.all[rank].pid or 0, signum)


def _enter(
    rank: int, size: int, port: int, log: Path, target: Callable[..., int], arguments: tuple[Any]
) -> None:
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    sys.exit(target(*arguments))


def command(config: Config, *options: str) -> int:
    """impcore-run with `config`, in one of the processes."""
    out = Path(config.run.out)
    recipe = out.with_name(f"{out.name}-{os.environ['RANK']}.toml")
    recipe.write_text(config.to_toml())
    return cli.main([str(recipe), *options])
