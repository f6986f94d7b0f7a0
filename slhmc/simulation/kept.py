"""Links of kept configurations: of a run, or of files of any format."""

from contextlib import suppress

from slhmc import __version__
from slhmc.errors import InputError
from slhmc.io import KeptConfiguration, MeasurementFile, RunDirectory, load_links
from slhmc.io.formats import examine, refuse_faults
from slhmc.io.links import check_fit
from slhmc.runcard import RunCard


class Misfit(InputError):
    """Links of another lattice or group than the card's: then it is the card that is wrong, and none of the files will do."""


def links_of_run(configuration: KeptConfiguration, card: RunCard):
    """Links of a file in configs/; InputError if it is damaged, or of another trajectory than its name says."""
    links, attributes = load_links(configuration.path, card.lattice.extent, card.lattice.colors)
    if attributes.get("trajectory") != configuration.number:
        raise InputError(f"{configuration.path}: holds trajectory {attributes.get('trajectory')}, {configuration.number} "
                         "expected by its name; restore the file, or move it away")
    return links


def links_of_file(configuration: KeptConfiguration, card: RunCard):
    """Links of a file of any format; InputError if a check fails, Misfit if they are not of the card's lattice."""
    extent, colors = card.lattice.extent, card.lattice.colors
    found = examine(configuration.path, extent, colors)
    try:
        check_fit(configuration.path, {"extent": found.description.extent, "colors": found.description.colors}, extent, colors)
    except InputError as error:
        raise Misfit(str(error)) from None
    refuse_faults(found)
    return found.links()


def abandon(files: RunDirectory, after: int) -> None:
    """Set aside what a session that was killed kept and measured after trajectory `after`, that of the checkpoint: the chain goes
    on from there, and may be another one. InputError if links cannot be moved.
    """
    files.abandon_configurations(after)
    measurements = MeasurementFile(files.path / "measure.h5", __version__)
    if measurements.path.exists():
        with suppress(InputError), measurements.locked():  # damaged, or in use: `measure` will say so
            measurements.read()
            measurements.forget(after)
