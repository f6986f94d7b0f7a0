"""`slhmc inspect` and `slhmc convert`, files of links of any format; `slhmc export`, observables for other programs."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slhmc.cli import ranks
from slhmc.errors import InputError
from slhmc.io.atomic import replace_file
from slhmc.io.directory import refuse_replacing
from slhmc.io.formats import Claim, Configuration, examine, format_of, refuse_faults, write_configuration
from slhmc.io.links import UNITARITY_TOLERANCE, check_fit


def inspect_file(path: Path, as_json: bool, extent: str | None, colors: int | None) -> None:
    """Show what a file says and what is found; InputError, after that, if a check failed. Collective."""
    found = _examined(path, extent, colors, ranks.world())
    print(json.dumps(_numbers(found), indent=2, allow_nan=False) if as_json else "\n".join(_lines(found)))
    refuse_faults(found)


def convert_file(path: Path, output: Path, name: str | None, precision: str | None, extent: str | None,
                 colors: int | None) -> None:
    """Write the links of one file into another; InputError if a check of the first failed. Collective."""
    name = name or format_of(output)
    refuse_replacing(output, links=True)
    communicator = ranks.world()
    found = _examined(path, extent, colors, communicator)
    refuse_faults(found)
    written = write_configuration(output, found.part, name, precision, _trajectory(found.description.details))
    print(f"{output}: {name}, {written} precision; of {found.description.format}, {_lattice(found)}, "
          f"plaquette {found.plaquette:.12g}")


def _trajectory(details: Mapping[str, Any]) -> int:
    """The number that a file gives its links, 0 if none."""
    told = next((str(details[key]) for key in ("trajectory", "SEQUENCE_NUMBER") if key in details), "")
    return int(told) if told.isdecimal() and len(told) < 19 else 0


def export_run(directory: Path, file: Path | None, ensemble: str | None) -> None:
    """Write the observables of a run as JSON of pyerrors."""
    from slhmc.analysis import encoded, open_chain, pyerrors_json

    file = file or directory / "observables.json.gz"
    if not file.name.endswith((".json", ".json.gz")):
        raise InputError(f"{file}: the suffix .json or .json.gz expected; give another name")
    refuse_replacing(file)
    content, left_out = pyerrors_json(open_chain(directory), ensemble or directory.resolve().name)
    if not content["obsdata"]:
        raise InputError(f"{directory}: no observable has five finite measurements in production, as pyerrors needs; run longer")
    replace_file(file, [encoded(content, file.name.endswith(".gz"))])
    without = f"; without {', '.join(left_out)}: too few measurements, or not finite" if left_out else ""
    print(f"{file}: {', '.join(content['description']['observables'])}{without}")


def _examined(path: Path, extent: str | None, colors: int | None, communicator: Any) -> Configuration:
    """As `examine`; InputError as well if the file tells of another lattice or group than the options. Collective."""
    lattice = _extent(extent)
    found = examine(path, lattice, colors, communicator)
    claims = found.description
    check_fit(path, {"extent": claims.extent, "colors": claims.colors}, lattice, colors,
              "leave --extent and --colors out where the file tells them")
    return found


def _extent(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}([x,][1-9][0-9]{0,5}){1,3}", text):
        raise InputError(f"--extent {text}: two to four extents expected, x first, such as 8x8x8x16")
    return tuple(int(length) for length in re.split("[x,]", text))


def _lattice(found: Configuration) -> str:
    claims = found.description
    return f"{'x'.join(map(str, claims.extent))}, SU({claims.colors}), {claims.precision} precision"


def _lines(found: Configuration) -> list[str]:
    claims = found.description
    unitarity = f"|U U^+ - 1| <= {found.deviation:.1e}"
    if not any(fault.startswith("unitarity") for fault in found.faults):
        unitarity += "" if found.deviation <= UNITARITY_TOLERANCE else ", projected to SU(Nc) when read"
    checksum = {"verified": "verified", "none": "none in the file", "wrong": "wrong"}[found.checksum_state]
    rows = [("format", claims.format), ("lattice", _lattice(found)),
            ("plaquette", f"{found.plaquette:.12f}{_claimed(claims.plaquette)}"),
            ("link trace", f"{found.link_trace:.12f}{_claimed(claims.link_trace)}"),
            ("checksum", checksum + (f" ({found.checksum})" if found.checksum else "")), ("unitarity", unitarity)]
    rows += [(name, ", ".join(value) if isinstance(value, list) else value) for name, value in claims.details.items()]
    return [f"{found.path}:", *(f"  {name:<12} {value}" for name, value in rows)]


def _claimed(claim: Claim | None) -> str:
    return "" if claim is None else f" ({claim.value:.12g} in the file)"


def _numbers(found: Configuration) -> dict[str, Any]:
    """The keys of docs/file-format.md."""
    claims = found.description
    return {
        "file": found.path, "format": claims.format, "extent": list(claims.extent), "colors": claims.colors,
        "precision": claims.precision, "plaquette": _finite(found.plaquette),
        "plaquette_claimed": claims.plaquette and _finite(claims.plaquette.value),
        "link_trace": _finite(found.link_trace), "link_trace_claimed": claims.link_trace and _finite(claims.link_trace.value),
        "checksum": found.checksum, "checksum_claimed": claims.checksum, "checksum_state": found.checksum_state,
        "deviation": _finite(found.deviation), "faults": list(found.faults),
        "details": {name: value if isinstance(value, str | list | int) else str(value) for name, value in claims.details.items()}}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
