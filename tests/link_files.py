"""Files of links built number by number from the formats' descriptions, and links to put into them."""

import struct
import zlib

import numpy as np

from slhmc.io.formats import Part, write_configuration

EXTENT = (2, 4, 2, 6)  # x, y, z, t


def random_links(extent=EXTENT, colors=3, seed=1):
    """Haar-distributed links in public order."""
    rng = np.random.default_rng(seed)
    shape = (*reversed(extent), len(extent), colors, colors)
    unitary, upper = np.linalg.qr(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    phases = np.einsum("...ii->...i", upper)
    unitary = unitary * (phases / np.abs(phases))[..., None, :]
    unitary[..., :, 0] /= np.linalg.det(unitary)[..., None]
    return unitary


def plaquette(links):
    """Mean of Re tr P / Nc, by whole shifts of the lattice."""
    dimensions, planes = links.shape[-3], []
    for mu in range(dimensions):
        for nu in range(mu):
            a, b = links[..., mu, :, :], links[..., nu, :, :]
            loop = (a @ np.roll(b, -1, dimensions - 1 - mu) @ np.roll(a, -1, dimensions - 1 - nu).conj().swapaxes(-1, -2)
                    @ b.conj().swapaxes(-1, -2))
            planes.append(np.trace(loop, axis1=-2, axis2=-1).real.mean())
    return np.mean(planes) / links.shape[-1]


def link_trace(links):
    """Mean of Re tr U / Nc."""
    return np.trace(links, axis1=-2, axis2=-1).real.mean() / links.shape[-1]


def sites(extent):
    """x, y, z, t of all sites, x fastest."""
    x, y, z, t = extent
    return [(i, j, k, n) for n in range(t) for k in range(z) for j in range(y) for i in range(x)]


def matrix_bytes(matrix, real):
    """Numbers of a matrix row by row, real part first."""
    return b"".join(struct.pack(real, part) for number in matrix.reshape(-1) for part in (number.real, number.imag))


def site_strings(links, extent, real, rows=None):
    """The bytes of each site."""
    return [b"".join(matrix_bytes(links[t, z, y, x, mu][:rows], real) for mu in range(4)) for x, y, z, t in sites(extent)]


def rotated(words):
    """Exclusive or of words rotated by their number modulo 29 and 31, as text."""
    sums = []
    for modulus in (29, 31):
        total = 0
        for number, word in enumerate(words):
            by = number % modulus
            total ^= (word << by | word >> (32 - by)) & 0xFFFFFFFF
        sums.append(total)
    return sums


def lime_record(kind, data, flags=0xC000, size=None):
    header = struct.pack(">IHHQ128s", 0x456789AB, 1, flags, len(data) if size is None else size, kind.encode())
    return header + data + bytes(-len(data) % 8)


def ildg_format(extent, bits, field="su3gauge"):
    lengths = "".join(f"<l{name}>{length}</l{name}>" for name, length in zip("xyzt", extent, strict=True))
    return (f'<?xml version="1.0"?>\n<ildgFormat xmlns="http://www.lqcd.org/ildg">\n <version>1.0</version><field>{field}</field>'
            f"<precision>{bits}</precision>{lengths}</ildgFormat>").encode()


def ildg(links, extent=EXTENT, bits=64, checksum=None, extra=()):
    """A minimal ILDG file with checksum, and records in `extra`."""
    strings = site_strings(links, extent, ">d" if bits == 64 else ">f")
    suma, sumb = checksum or rotated([zlib.crc32(string) for string in strings])
    tail = f"<scidacChecksum><version>1.0</version><suma>{suma:x}</suma><sumb>{sumb:x}</sumb></scidacChecksum>".encode()
    return b"".join((*extra, lime_record("ildg-format", ildg_format(extent, bits)),
                     lime_record("ildg-binary-data", b"".join(strings)), lime_record("scidac-checksum", tail)))


def nersc(links, extent=EXTENT, real=">d", rows=2, **changes):
    """A NERSC file; `changes` replace keys of the header."""
    data = b"".join(site_strings(links, extent, real, rows))
    words = struct.unpack(real[0] + f"{len(data) // 4}I", data)
    stored = links.astype(np.complex64) if real[1] == "f" else links
    keys = {"DATATYPE": "4D_SU3_GAUGE" if rows == 2 else "4D_SU3_GAUGE_3x3",
            **{f"DIMENSION_{k}": length for k, length in enumerate(extent, 1)}, "LINK_TRACE": f"{link_trace(stored):.10f}",
            "PLAQUETTE": f"{plaquette(stored):.10f}", "CHECKSUM": f"{sum(words) % 2**32:x}",
            "FLOATING_POINT": f"IEEE{64 if real[1] == 'd' else 32}{'BIG' if real[0] == '>' else 'LITTLE'}"} | changes
    header = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f"BEGIN_HEADER\n{header}END_HEADER\n".encode() + data


def milc(links, extent=EXTENT, order="<", sums=None):
    data = b"".join(site_strings(links, extent, order + "f"))
    sums = sums or rotated(struct.unpack(order + f"{len(data) // 4}I", data))
    return struct.pack(order + "5i64si2I", 20103, *extent, b"Thu Feb 12 13:40:21 1998", 0, *sums) + data


def openqcd(links, extent=EXTENT, claimed=None):
    x, y, z, t = extent
    head = struct.pack("<4id", t, x, y, z, 3 * plaquette(links) if claimed is None else claimed)
    parts = [head]
    for n in range(t):
        for i in range(x):
            for j in range(y):
                for k in range(z):
                    if (n + i + j + k) % 2:
                        parts += [matrix_bytes(links[n, k, j, i, 3], "<d"), matrix_bytes(links[n - 1, k, j, i, 3], "<d"),
                                  matrix_bytes(links[n, k, j, i, 0], "<d"), matrix_bytes(links[n, k, j, i - 1, 0], "<d"),
                                  matrix_bytes(links[n, k, j, i, 1], "<d"), matrix_bytes(links[n, k, j - 1, i, 1], "<d"),
                                  matrix_bytes(links[n, k, j, i, 2], "<d"), matrix_bytes(links[n, k - 1, j, i, 2], "<d")]
    return b"".join(parts)


def parts(links, extent=EXTENT, count=3, bits=64, seed=5, volfmt=2):
    """The files of a SciDAC file in parts, sites dealt out at random: text records and checksum are in the first one."""
    strings = site_strings(links, extent, ">d" if bits == 64 else ">f")
    suma, sumb = rotated([zlib.crc32(string) for string in strings])
    dims, letter, size = " ".join(map(str, extent)), "D" if bits == 64 else "F", 18 * bits // 8
    private = f"<scidacFile><spacetime>4</spacetime><dims>{dims} </dims><volfmt>{volfmt}</volfmt></scidacFile>".encode()
    record = (f"<scidacRecord><datatype>QDP_{letter}3_ColorMatrix</datatype><precision>{letter}</precision><colors>3</colors>"
              f"<typesize>{size}</typesize><datacount>4</datacount></scidacRecord>").encode()
    tail = f"<scidacChecksum><suma>{suma:x}</suma><sumb>{sumb:x}</sumb></scidacChecksum>".encode()
    order = np.random.default_rng(seed).permutation(len(strings))
    result = []
    for number, mine in enumerate(np.array_split(order, count)):
        first = not number
        result.append(b"".join((
            lime_record("scidac-private-file-xml", private) if first else b"",
            lime_record("scidac-sitelist", struct.pack(f">{len(mine)}I", *mine)),
            lime_record("scidac-private-record-xml", record) if first else b"",
            lime_record("scidac-binary-data", b"".join(strings[site] for site in mine)),
            lime_record("scidac-checksum", tail) if first else b"")))
    return result


def put(folder, data, name="links"):
    """A file of these bytes; its path."""
    path = folder / name
    path.write_bytes(data)
    return path


def write(path, links, name, precision=None):
    """The links as a file of format `name`, by the engine; its path."""
    write_configuration(path, Part(links, len(links)), name, precision)
    return path
