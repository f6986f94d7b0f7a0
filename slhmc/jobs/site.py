"""What a cluster is like: a small TOML file for each site, in the user's configuration."""

import os
import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from slhmc.errors import InputError

Scheduler = Literal["slurm", "pbs", "lsf", "flux", "local"]
DEFAULT_WARNING = 300


class Site(BaseModel):
    """Settings of a site; every key has a default, options of `slhmc submit` go first."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    scheduler: Scheduler | None = Field(None, description="found by its commands if left out")
    launcher: Literal["mpiexec", "srun", "flux"] | None = Field(None, description="mpiexec if left out, flux run under Flux")
    launcher_command: str | None = Field(None, min_length=1, description="path of the launcher, if not the one on PATH")
    launcher_options: list[str] = Field([], description="further arguments of the launcher, such as --mpi=pmix")
    binding: Literal["none", "cores", "launcher"] = Field(
        "none", description="of ranks: none, to as many cores as threads, or as the launcher does it")
    modules: list[str] = Field([], description="loaded in this order, after `module purge`")
    lines: list[str] = Field([], description="shell lines of the job before the ranks start")
    directives: list[str] = Field([], description="further options of the scheduler, such as --qos=long")
    scratch: str | None = Field(None, min_length=1, description="directory of runs if -o is left out; $VARIABLES are expanded")
    account: str | None = Field(None, min_length=1)
    partition: str | None = Field(None, min_length=1)
    warning: int = Field(DEFAULT_WARNING, ge=1, description="seconds before the time limit at which ranks are told to stop")

    @field_validator("lines", "directives", "modules", "launcher_options")
    @classmethod
    def _single_lines(cls, values: list[str]) -> list[str]:
        if any(not value.strip() or not value.replace("\t", " ").isprintable() for value in values):
            raise ValueError("each entry must be one line of text")
        return values

    @field_validator("account", "partition")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        return value if value is None else directive_word(value)


def directive_word(text: str) -> str:
    """`text`, fit for a line that a scheduler reads; ValueError if that would end, or take what follows for something else."""
    if not re.fullmatch(r"[^\s\"'#\\\x00-\x1f]+", text):
        raise ValueError("one word without quotes and # expected")
    return text


def sites_directory() -> Path:
    """$XDG_CONFIG_HOME/slhmc/sites, else ~/.config/slhmc/sites."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "slhmc" / "sites"


def load_site(name: str | None) -> Site:
    """The site `name`; None: that of default.toml, or all defaults if there is none.

    Raises InputError with all that is wrong in the file.
    """
    path = sites_directory() / f"{name or 'default'}.toml"
    if name is None and not path.exists():
        return Site()
    if not re.fullmatch(r"[\w.-]+", name or "default"):
        raise InputError(f"--site {name}: the name of a file in {sites_directory()} expected, without .toml")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return Site.model_validate(raw)
    except FileNotFoundError:
        known = sorted(entry.stem for entry in sites_directory().glob("*.toml"))
        raise InputError(f"{path}: no such site; " + (f"there are {', '.join(known)}" if known else
                                                      "write one (docs/batch.md), or leave --site out")) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_words(entry)}" for entry in error.errors(include_url=False))) from None


def _words(entry: dict) -> str:
    key = ".".join(map(str, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        return f"{key}: unknown key; a site has {', '.join(Site.model_fields)}"
    message = entry["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}, found {entry['input']!r}"
