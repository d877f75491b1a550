"""The preload shim from Python: compile it, start a process under it, arm it in a forked child.

Promises: nothing is compiled or loaded unless asked; without a C compiler `compiled` says why there is none.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")

COUNT, KILL, FAIL, FULL, SHORT = 1, 2, 3, 4, 5
"""What happens at the call it is armed for: nothing, SIGKILL, an error, an error at every write from it on, a short
write."""


class NoCompiler(Exception):
    """The shim cannot be built here."""


def compiled(folder: Path) -> Path:
    """The shim as a shared object in `folder`.

    Raises:
        NoCompiler: this is not Linux, or has no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        raise NoCompiler("the preload shim needs Linux and a C compiler (cc)")
    target = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl"], check=True)
    return target


def environment(shim: Path) -> dict[str, str]:
    """The environment of a process that is to run under the shim; its native libraries start no threads."""
    return {**os.environ, "LD_PRELOAD": str(shim), "CRASH_SHIM": str(shim)}


def lacking(shim: Path, root: Path, *, lacks: Collection[str] = (), files: int = 0) -> dict[str, str]:
    """Variables of a process to which a file system lacks abilities below `root`, or more open files than so many."""
    given = {"CRASH_SHIM_LACKS": " ".join(lacks)} if lacks else {}
    given |= {"CRASH_SHIM_FILES": str(files)} if files else {}
    return {"LD_PRELOAD": str(shim), "CRASH_SHIM_ROOT": str(root), **given}


def armed(root: Path, mode: int, *, at: int = 0, error: int = 0, record: int = -1) -> ctypes.CDLL:
    """Arm the shim in this process for what happens below `root`."""
    shim = ctypes.CDLL(os.environ["CRASH_SHIM"])
    shim.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    shim.shim_calls.restype = ctypes.c_long
    shim.shim_mark.argtypes = [ctypes.c_char_p]
    shim.shim_arm(str(root).encode(), mode, at, error, record)
    return shim
