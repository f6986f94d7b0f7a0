"""Files of links of other programs: ILDG and SciDAC, NERSC, MILC, openQCD, NumPy; a module a format, one description for all."""

from slhmc.io.formats.configuration import FORMATS, Configuration, examine, is_links_file, load_configuration, refuse_faults
from slhmc.io.formats.description import Claim, Description
from slhmc.io.formats.part import Part
from slhmc.io.formats.partfile import name_of_part, parts_beside
from slhmc.io.formats.writing import NAMES, format_of, write_configuration

__all__ = ["FORMATS", "NAMES", "Claim", "Configuration", "Description", "Part", "examine", "format_of", "is_links_file",
           "load_configuration", "name_of_part", "parts_beside", "refuse_faults", "write_configuration"]
