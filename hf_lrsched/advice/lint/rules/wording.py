"""How rules say a setting and a count: as they stand in the file or on the command line, one step or several."""

from __future__ import annotations

from ..configuration import Setting


def spoken(setting: Setting, value: object = None, *, key: str = "") -> str:
    """A setting as one writes it: with a colon in a file, without one on a command line.

    Args:
        setting: for its key, and where it stands.
        value: by default as it is written.
        key: another key to write in its place, without dashes.

    >>> spoken(Setting("warmup_steps", 6, "6", "--warmup_steps"), 3)
    '--warmup_steps 3'
    >>> spoken(Setting("warmup_ratio", 0.1, "0.10", "warmup_ratio"), key="warmup_steps")
    'warmup_steps: 0.10'
    """
    dashes = setting.key[: len(setting.key) - len(setting.key.lstrip("-"))]
    shown = (setting.written or setting.value) if value is None else value
    return f"{dashes}{key or setting.key.lstrip('-')}{' ' if dashes else ': '}{shown}"


def steps(count: float) -> str:
    """A number of steps.

    >>> steps(1), steps(1000)
    ('1 step', '1000 steps')
    """
    return f"{count:g} step{'s' * (count != 1)}"
