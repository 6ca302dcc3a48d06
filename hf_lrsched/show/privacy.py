"""What of a run's arguments is nobody else's business: never written into a card, never taken from one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_PLACES = frozenset(
    {"output_dir", "logging_dir", "run_name", "report_to", "project", "resume_from_checkpoint", "local_rank", "log_level",
     "log_level_replica", "disable_tqdm"}
)  # fmt: skip
_PRIVATE = frozenset({"deepspeed", "parallelism_config", "trust_remote_code", "model_init_kwargs"})
_PRIVATE_ENDS = re.compile(r"(^|_)(token|host|(dir|path|url|key|secret|password|credential)s?)$", re.IGNORECASE)
_PRIVATE_VALUE = re.compile(r"(?:^|[\s=:,;\"'(\[])(?:~?/\w|~$|[A-Za-z]:[\\/]|\\\\)|://|\bhf_\w{16,}")


def plumbing(name: str) -> bool:
    """Whether an argument says only where a run's files and figures go.

    >>> plumbing("output_dir"), plumbing("hub_model_id"), plumbing("weight_decay")
    (True, True, False)
    """
    return name in _PLACES or name.startswith(("hub_", "push_to_hub", "trackio_"))


def unfit(name: str, value: object) -> bool:
    """Whether an argument must not be in a card: a token, a path or an address, by its name or anywhere in its value.

    >>> unfit("hub_token", None), unfit("deepspeed", "ds.json"), unfit("optim_args", "cache=/home/me/x")
    (True, True, True)
    >>> unfit("lr_scheduler_kwargs", {"decay": "1.5B tokens"})
    False
    """
    if plumbing(name) or name in _PRIVATE or _PRIVATE_ENDS.search(name):
        return True
    if isinstance(value, Mapping):
        return any(unfit(str(key), inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return any(unfit("", inner) for inner in value)
    if isinstance(value, float) and not math.isfinite(value):  # JSON has none
        return True
    return isinstance(value, str) and _PRIVATE_VALUE.search(value) is not None
