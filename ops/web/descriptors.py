"""Descriptors: how many connections there may be, so that cameras, brokers and files have theirs."""

import resource

KEPT = 512
"""Descriptors that are not for HTTP."""
ENOUGH = 65_536
"""More than so many are not asked for: some libraries look at each that there may be."""


def connections_possible(wanted: int) -> int:
    """Let the process have more descriptors where it may, and say how many connections leave enough of them.

    The soft limit is 1,024 on most systems, for programs that use `select`, and the hard limit far higher.

    Args:
        wanted: how many connections there should be, at most.

    Returns:
        As many, or what is left beside `KEPT`; of a process that has few, a quarter.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return max(1, min(wanted, soft - KEPT if soft >= 2 * KEPT else soft // 4))
