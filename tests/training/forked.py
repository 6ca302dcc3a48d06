"""Two processes over gloo, forked from one that has imported everything."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable

__all__ = ["in_two"]


def in_two(name: str, work: Callable[[int], None]) -> None:
    """Runs `work` in two processes that see each other, each told its rank; exits where one of them fails.

    Args:
        name: what is said to have failed.
        work: what each does.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in (0, 1):
        if child := os.fork():
            children.append(child)
            continue
        try:
            group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({key: str(value) for key, value in group.items()}, ACCELERATE_USE_CPU="true")
            work(rank)
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ended = []
    while children:
        child, status = os.wait()
        children.remove(child)
        ended.append(os.waitstatus_to_exitcode(status))
        if ended[-1]:
            for other in children:
                os.kill(other, 9)
    if any(ended):
        sys.exit(f"{name}: exit codes {ended}")
