"""What a machine has: room on its disk, memory of host and device, a place for the run directory.

Invariant: only looked at; nothing is made or written.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

import torch

from impcore import host_memory
from impcore.config import Config
from impcore.errors import RunDirectoryError
from impcore.imp.checks.estimate import Estimate
from impcore.imp.checks.findings import Findings
from impcore.imp.run_directory import refuse_foreign


def amount(count: float) -> str:
    """Bytes, in the unit that suits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def run_directory(config: Config, findings: Findings) -> None:
    """Whether the run may write where it wants to, and whether it would go on there."""
    path = Path(config.run.out)
    try:
        refuse_foreign(path, config.run.experiment)
    except RunDirectoryError as error:
        findings.fault("run directory", str(error))
        return
    above = _above(path)
    if not os.access(above, os.W_OK | os.X_OK):
        findings.fault("run directory", f"run.out: {above} is not writable")
    elif path.exists():
        findings.warn("run directory", f"{path} is there: the run would go on from what it holds")
    else:
        findings.note("run directory", f"{path} will be made")


def room(what: str, needed: int, of: str, path: Path, findings: Findings) -> None:
    """Whether the disk of `path` has `needed` bytes left."""
    above = _above(path)
    free = shutil.disk_usage(above).free
    text = f"about {amount(needed)} for {of}, {amount(free)} free on {above}"
    if needed > free:
        findings.fault(what, f"{text}; name a place on another disk")
    else:
        findings.note(what, text)


def memory(device: torch.device, estimate: Estimate, prefix: str, findings: Findings) -> None:
    """What the steps needed at most, against what there is."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    copies = estimate.checkpoint if device.type == "cuda" else 0
    _compare(f"{prefix}host memory", peak + copies, host_memory.total(), "process", findings)
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        used = torch.cuda.max_memory_reserved(device)
        _compare(f"{prefix}device memory", used, total, str(device), findings)


def _compare(what: str, used: int, total: int | None, of: str, findings: Findings) -> None:
    if total is None:
        findings.note(what, f"{amount(used)} at most so far")
    elif used > total:
        findings.fault(what, f"{amount(used)} needed by the {of}, of {amount(total)}")
    elif used > 0.9 * total:
        findings.warn(what, f"{amount(used)} of {amount(total)} used: little room is left")
    else:
        findings.note(what, f"{amount(used)} of {amount(total)} used at most")


def _above(path: Path) -> Path:
    """The nearest directory that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
