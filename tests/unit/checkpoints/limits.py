"""What a checkpoint may cost before it is refused: memory, and processor time."""

import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager


def run_limited(code: str, *arguments: str, cpu_sec: int) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that is ended once it has computed for so long."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_sec, cpu_sec))

    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip


@contextmanager
def grows_less_than(mebibytes: int) -> Generator[None]:
    """Whatever happens inside, this process never takes so much more memory than ever before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < mebibytes * 1024
