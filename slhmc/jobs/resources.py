"""What a job asks for: nodes, ranks, threads, GPUs, time."""

import re
from dataclasses import dataclass

from slhmc.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DEFAULT_SECONDS = 3600
MOST_DAYS = 366


@dataclass(frozen=True)
class Resources:
    """Of one job: `ranks` in all, the same number on each of the `nodes`; `threads` of each rank, `gpu`: one for each rank.

    seconds: the time limit; warning: how long before it the ranks are told to stop, in seconds.
    """

    nodes: int
    ranks: int
    threads: int
    gpu: bool
    seconds: int
    warning: int
    account: str | None = None
    partition: str | None = None

    @classmethod
    def asked(cls, *, nodes: int | None, ranks: int | None, threads: int | None, gpus: int | None, time: str | None,
              warning: int, account: str | None, partition: str | None) -> "Resources":
        """From options, None for those left out: a rank a GPU, one node, one thread, an hour.

        Raises InputError if ranks cannot be spread over nodes and GPUs, or if no time is left before the warning.
        """
        nodes, gpus = nodes or 1, gpus or 0
        ranks = ranks or gpus or nodes
        if gpus and gpus != ranks:
            raise InputError(f"--gpus {gpus} with --ranks {ranks}: one rank drives one GPU; give the same number, or leave "
                             "--ranks out")
        if ranks % nodes:
            raise InputError(f"--ranks {ranks} on --nodes {nodes}: the same number of ranks on each node expected; "
                             f"give a multiple of {nodes}")
        seconds = DEFAULT_SECONDS if time is None else seconds_of(time)
        if warning >= seconds:
            raise InputError(f"the time limit of {seconds} s leaves nothing before the warning {warning} s ahead of it; "
                             "give more --time, or a smaller --warning")
        return cls(nodes, ranks, threads or 1, gpus > 0, seconds, warning, account, partition)

    @property
    def ranks_per_node(self) -> int:
        return self.ranks // self.nodes


def seconds_of(text: str) -> int:
    """`24:00:00`, `2-12:00:00`, `90m`, `24h`, `2d` in seconds; InputError for anything else, no time at all, more than a year."""
    seconds = 0
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = 86400 * days + 3600 * hours + 60 * minutes + rest
    elif match := re.fullmatch(r"(\d+)([smhd])", text):
        seconds = int(match[1]) * _UNITS[match[2]]
    if seconds == 0:
        raise InputError(f"a time limit of {text!r}: expected hours:minutes:seconds, days-hours:minutes:seconds, or a number "
                         "with a unit: 90m, 24h, 2d")
    if seconds > 86400 * MOST_DAYS:
        raise InputError(f"a time limit of {text!r}: at most {MOST_DAYS} days expected; let several jobs follow each other by "
                         "--chain")
    return seconds


def clock(seconds: int) -> str:
    """hh:mm:ss, which all schedulers read; hours go beyond 24."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
