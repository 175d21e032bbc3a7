"""Whether a process that is no child of the test still runs."""

import psutil


def alive(pid: int) -> bool:
    """Whether it runs; one that is over but not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
