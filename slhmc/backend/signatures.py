"""What C++ and Python both know: every kernel of `kernels/`, its kind and its arguments, and constants of both sides.

`header(file)` is the text of `signatures.h` that a kernel file includes; `structure(file, name, real)` is the same
argument struct for ctypes. All kernels take one struct, so that a recorded call is a pair of addresses.
"""

import ctypes
from enum import IntEnum
from functools import cache

REDUCTION_BLOCK = 128  # threads of a block on CUDA
REDUCTION_CHUNK = 64   # lane groups of one partial sum on a host; fixed, so sums do not depend on threads
GAUGE_CHUNK = 8        # the same where a lane group takes long, so that threads share a few of them
FMA_CHAINS = 16        # independent multiply-adds of `multiply_add_peak`, as many as hide the latency
# what topology.cc keeps of a plane: lines of two and of three links in mu, then in nu; loops (m, n) of m links in mu and n in nu,
# from (1, 1) to (3, 3) without (2, 3) and (3, 2); sizes of them, m <= n
LINES, LOOPS, SIZES = 4, 7, 5


class SolverState(IntEnum):
    """The scalars of a solve by conjugate gradient, which stay on the device."""

    RESIDUAL = 0
    CURVATURE = 1
    ALPHA = 2
    BETA = 3
    INNER = 4
    OUTER = 5
    ITERATIONS = 6
    TARGET = 7
    FLOOR = 8
    SOURCE = 9
    TRUE_RESIDUAL = 10
    RESTARTS = 11
    NEW_RESIDUAL = 12
    TOTAL_ITERATIONS = 13
    BEST = 14
    FAILURES = 15
    FAILED_RESIDUAL = 16
    FAILED_ITERATIONS = 17
    STALLS = 18
    ACTIVE = 19
    OWING = 20


class BiCGStabState(IntEnum):
    """The scalars of a solve by BiCGStab; complex ones take two places."""

    RHO = 0
    NEXT_RHO = 2
    NEW_RESIDUAL = 4
    PRODUCT = 5
    OVERLAP = 7
    OVERLAP_NORM = 9
    ALPHA = 10
    OMEGA = 12
    BETA = 14
    RESIDUAL = 16
    INNER = 17
    OUTER = 18
    ITERATIONS = 19
    TARGET = 20
    FLOOR = 21
    SOURCE = 22
    TRUE_RESIDUAL = 23
    RESTARTS = 24
    BEST = 25
    STALLS = 26
    FRESH = 27
    BROKEN = 28
    SHADOW = 29
    START = 30
    LEAST = 31
    LEAST_AT = 32
    TOTAL_ITERATIONS = 33
    FAILURES = 34
    FAILED_RESIDUAL = 35
    FAILED_ITERATIONS = 36


# constants of one kernel file, beside those of the launch geometry
_CONSTANTS = {"bounds.cc": {"FMA_CHAINS": FMA_CHAINS},
              "topology.cc": {"LINES": LINES, "LOOPS": LOOPS, "SIZES": SIZES},
              "linear_algebra.cc": {state.name: state.value for state in SolverState},
              "bicgstab.cc": {state.name: state.value for state in BiCGStabState}}

# kinds: "site" (one call a lane group), an integer K (reduction of K sums a site), "scalar" (one call), "sum" (partials)
_LATTICE = "Range range; Geometry geometry; "
_FLAT = "Range range; int parity_stride; "
_STATE = "double *state; "
_SHIFTS = _STATE + "double *table; int count; "
_HOPPING = ("const real *hopping; const signed char *codes; const real *signs; const real *psi_same; "
            "const real *psi_other; real *out; real same; real other")
_CLOVER = ("const real *hopping; const signed char *codes; const real *signs; const real *blocks; const real *psi_same; "
           "const real *psi_other; real *out; real other; int dagger; int rows")

_FIFTH = "real p; real q; real k; real wall; int dagger"
_DOMAIN_WALL = ("const real *hopping; const real *psi_same; const real *psi_other; real *out; real *image; real same; "
                "real image_p; real image_q; " + _FIFTH)

_PLAQUETTES = "const real *coefficients; const int *positions; int window"
_RECTANGLES = "const real *rectangles; const real *sides"
_FLOW = ("const real *links; const real *before; real *after; real *moved; const double *step; real fresh; real kept; "
         "real scale")

_ATTENTION = "const real *links; const real *queries; const real *paths; const real *key_paths"
_PLANES = "const int *order; const int *positions; int window; int mu; int nu; const real *links"
_SMEARED_FORCE = "const real *smeared_force; real *insertions; real *force; real weight; int add"

_FLUXES = ("const double *ratios; const int *tables; const double *factors; const int *neighbours; int *faults; int sites; "
           "int length")

_LCNN_TARGETS = "const int *left_targets; const int *right_targets; long left_stride; long right_stride; int left_adjoint; " \
                "int right_adjoint; int sites"
_LCNN = {
    "lcnn_transport": ("site", "Range range; const real *field; const real *links; const int *targets; real *out; int channels; "
                               "int shifts; int local; int sites; int chunk; int length"),
    "lcnn_transport_back": ("site", "Range range; const real *field; const real *links; const int *targets; "
                                    "const real *gradient; real *field_gradient; real *link_gradient; int channels; int sites; "
                                    "int chunk; int length"),
    "lcnn_bilinear": ("site", "Range range; const real *field; const real *mixed; real *out; int channels; int outputs; "
                              "int daggers; int unit; int sites; int chunk; int length"),
    "lcnn_bilinear_back": ("site", "Range range; const real *field; const real *gradient; real *mixed; real *field_gradient; "
                                   "int channels; int outputs; int daggers; int unit; int sites; int chunk; int length"),
    "lcnn_link_product": ("site", "Range range; const real *left; const real *right; real *out; " + _LCNN_TARGETS),
    "lcnn_link_product_back": ("site", "Range range; const real *left; const real *right; const real *gradient; "
                                       "real *left_gradient; real *right_gradient; " + _LCNN_TARGETS),
    "lcnn_exponential": ("site", "Range range; const real *coefficients; const real *links; real *out; int sites"),
    "lcnn_exponential_back": ("site", "Range range; const real *coefficients; const real *links; const real *gradient; "
                                      "real *coefficient_gradient; real *link_gradient; int sites"),
}

KERNELS = {
    "attention.cc": {
        "attention_scores": ("site", _LATTICE + _ATTENTION + "; real *scores; real scale"),
        "attended_paths": ("site", _LATTICE + "const real *scores; const real *paths; const double *weight; real *out; int add"),
        "attention_pull_back": ("site", _LATTICE + _ATTENTION + "; const real *value_paths; const real *scores; "
                                "const double *rho; const real *insertions; real *value_insertions; real *key_insertions; "
                                "real *link_insertions; real *query_force; real *force; real scale; real weight; int add"),
    },
    "clover.cc": {
        "clover_hop": ("site", _LATTICE + _CLOVER),
        "clover_hop_norm": (1, _LATTICE + "double *partials; " + _CLOVER),
    },
    "clover_term.cc": {
        "clover_blocks": ("site", _LATTICE + "const real *links; real *blocks; real diagonal; real factor"),
        "clover_inverse": (2, _LATTICE + "double *partials; const real *blocks; real *inverse"),
        "clover_outer": ("site", _LATTICE + "const real *x; const real *y; real *insertions; real weight; int add"),
        "clover_determinant": ("site", _LATTICE + "const real *inverse; real *insertions"),
        "clover_force": ("site", _LATTICE + "const real *links; const real *insertions; real *force; real weight"),
    },
    "domain_wall.cc": {
        "domain_wall_hop": ("site", _LATTICE + _DOMAIN_WALL),
        "domain_wall_hop_norm": (1, _LATTICE + "double *partials; " + _DOMAIN_WALL),
        "fifth_dimension": ("site", _LATTICE + "const real *psi; real *out; " + _FIFTH),
        "extract_walls": ("site", _LATTICE + "const real *slices; real *psi; int right; int left"),
        "insert_walls": ("site", _LATTICE + "const real *psi; real *slices; int right; int left"),
        "wall_slices": ("site", _LATTICE + "const real *psi; real *out; int slices"),
    },
    "flow.cc": {
        "wilson_flow": ("site", _LATTICE + _FLOW + "; " + _PLAQUETTES),
        "symanzik_flow": ("site", _LATTICE + _FLOW + "; " + _PLAQUETTES + "; " + _RECTANGLES + "; real c0; real c1"),
        "zeuthen_flow": ("site", _LATTICE + _FLOW + "; const real *force"),
        "flow_distance": (1, _LATTICE + "double *partials; const real *links; const real *moved; const real *first; "
                                        "const real *second; const double *step"),
    },
    "gauge.cc": {
        "plaquette_sum": (1, _LATTICE + "double *partials; const real *links"),
        "rectangle_sum": (1, _LATTICE + "double *partials; const real *links"),
        "plaquette_coefficients": ("site", _LATTICE + "const real *links; real *coefficients; const int *positions; int window"),
        "plaquette_force": ("site", _LATTICE + "const real *links; " + _PLAQUETTES + "; real *force; real factor"),
        "rectangle_coefficients": ("site", _LATTICE + "const real *links; real *rectangles; const int *positions; int window"),
        "rectangle_sides": ("site", _LATTICE + "const real *links; const real *rectangles; real *sides; const int *positions; "
                                               "int window"),
        "rectangle_force": ("site", _LATTICE + "const real *links; " + _RECTANGLES + "; const int *positions; int window; "
                                               "real *force; real factor"),
        "field_strength_sums": (2, _LATTICE + "double *partials; const real *links; " + _PLAQUETTES),
    },
    "heat_bath.cc": {
        "heat_bath": ("site", _LATTICE + "real *links; int mu; real strength; Random random"),
        "over_relaxation": ("site", _LATTICE + "real *links; int mu"),
    },
    "hopping.cc": {
        "hopping_links": ("site", _LATTICE + "const real *links; real *hopping; const signed char *codes; const real *signs; "
                                           "int link_reals"),
    },
    "lcnn_matrix.cc": _LCNN,
    "lcnn_quaternion.cc": _LCNN,
    "links.cc": {
        "link_update": ("site", _LATTICE + "real *links; const real *momenta; real step"),
        "reunitarize": ("site", _LATTICE + "real *links"),
        "random_links": ("site", _LATTICE + "real *links; Random random"),
        "transport": ("site", _LATTICE + "const real *links; const real *from; real *to; int mu"),
        "matrix_trace": (2, _LATTICE + "double *partials; const real *matrices"),
    },
    "loops.cc": {
        "plaquette_staples": ("site", _LATTICE + "const real *links; real *staples; const double *weights"),
        "plaquette_pull_back": ("site", _LATTICE + "const real *links; const real *insertions; real *force; "
                                                   "const double *weights; real factor"),
        "sided_staples": ("site", _LATTICE + "const real *links; real *out; int slots"),
        "sided_tangents": ("site", _LATTICE + "const real *links; const real *insertions; real *out; const double *weights; "
                                              "int slots"),
        "glued_staples": ("site", _LATTICE + "const real *links; const real *replaced; real *staples; const double *weights; "
                                             "int slots"),
        "glued_pull_back": ("site", _LATTICE + "const real *links; const real *insertions; const real *replaced; "
                                               "const real *tangents; real *force; const double *weights; real factor; "
                                               "int slots"),
        "line_tangent": ("site", _LATTICE + "const real *links; const real *insertions; const real *from; "
                                            "const real *from_tangent; real *to; real *to_tangent; int mu"),
        "line_staples": ("site", _LATTICE + "const real *line; real *staples; const double *weights; int mu"),
        "line_pull_back": ("site", _LATTICE + "const real *links; const real *tangent; real *force; const double *weights; "
                                              "real factor; int mu"),
    },
    "plaquette_layer.cc": {
        "plaquette_layer": ("site", _LATTICE + "const real *links; " + _PLAQUETTES + "; real *exponents; real *smeared; "
                                               "const double *weights; int add"),
        "plaquette_tangents": ("site", _LATTICE + "const real *links; const real *exponent_force; real *tangents; "
                                                  "const int *positions; int window; const double *weights"),
        "plaquette_tangent_force": ("site", _LATTICE + "const real *links; const real *tangents; const int *positions; "
                                                       "int window; real *force; real factor"),
    },
    "random.cc": {
        "gaussian": ("site", _LATTICE + "real *field; int components; real scale; Random random"),
        "uniform_field": ("site", _LATTICE + "real *field; int components; Random random"),
        "philox_words": ("scalar", "const word *counter; word *words"),
    },
    "rectangle_layer.cc": {
        "rectangle_layer": ("site", _LATTICE + "const real *links; " + _RECTANGLES + "; const int *positions; int window; "
                                               "real *exponents; real *smeared; const double *weights; int add"),
        "rectangle_tangents": ("site", _LATTICE + "const real *links; const real *exponent_force; real *tangents; "
                                                  "const int *positions; int window; const double *weights"),
        "rectangle_tangent_sides": ("site", _LATTICE + "const real *links; real *tangents; const int *positions; int window"),
        "rectangle_tangent_force": ("site", _LATTICE + "const real *links; const real *tangents; const int *positions; "
                                                       "int window; real *force; real factor"),
    },
    "staggered.cc": {
        "staggered_hop": ("site", _LATTICE + _HOPPING),
        "staggered_hop_dot": (1, _LATTICE + "double *partials; " + _HOPPING),
        "staggered_force": ("site", _LATTICE + "const real *links; const real *field; real *force; "
                                               "const signed char *codes; const real *signs; real weight"),
    },
    "static_potential.cc": {
        "spatial_stout": ("site", _LATTICE + "const real *links; real *smeared; real rho"),
        "shifted": ("site", _LATTICE + "const real *from; real *to; int mu"),
        "ladder": ("site", _LATTICE + "const real *from; const real *left; const real *right; real *to; int mu"),
    },
    "stout.cc": {
        "stout_links": ("site", _LATTICE + "const real *links; const real *staples; real *exponents; real *smeared"),
        "stout_pull_back": ("site", _LATTICE + "const real *links; const real *staples; const real *exponents; " + _SMEARED_FORCE
                                    + "; real *exponent_force"),
        "ape_links": ("site", _LATTICE + "const real *links; const real *staples; real *smeared"),
        "ape_pull_back": ("site", _LATTICE + "const real *links; const real *staples; const real *smeared; " + _SMEARED_FORCE),
    },
    "topology.cc": {
        "plane_lines": ("site", _LATTICE + _PLANES + "; real *lines"),
        "plane_loops": ("site", _LATTICE + _PLANES + "; const real *lines; real *loops"),
        "loop_sides": ("site", _LATTICE + _PLANES + "; const real *lines; const real *loops; real *sides"),
        "loop_strengths": ("site", _LATTICE + _PLANES + "; const real *lines; const real *sides; real *strengths"),
        "loop_charges": (1, _LATTICE + "double *partials; " + _PLANES + "; const real *lines; const real *sides; "
                                       "const real *strengths; const double *weights"),
    },
    "wilson.cc": {
        "wilson_hop": ("site", _LATTICE + _HOPPING + "; int dagger; int rows"),
        "wilson_hop_norm": (1, _LATTICE + "double *partials; " + _HOPPING + "; int dagger; int rows"),
        "wilson_force": ("site", _LATTICE + "const real *links; const real *x; const real *y; real *force; "
                                            "const signed char *codes; const real *signs; real weight"),
    },
    "worm.cc": {
        "worm_sweeps": ("site", "Range range; int *k; int *l; int *powers; " + _FLUXES + "; long *steps; int sweeps; int worms; "
                                "int local; Random random"),
        "open_worms": ("site", "Range range; int *k; int *l; int *powers; " + _FLUXES + "; const int *counts; int moves; "
                               "Random random"),
        "flux_averages": ("site", "Range range; const int *k; const int *powers; const double *ratios; const int *tables; "
                                  "double *values; int sites; int length"),
    },
    "bicgstab.cc": {
        "bicgstab_restart": ("site", "Range range; real *shadow; const real *r; const double *state"),
        "bicgstab_direction": ("site", "Range range; real *p; const real *r; const real *v; const double *state"),
        "bicgstab_product": (2, "Range range; double *partials; const real *x; const real *y; const double *state"),
        "bicgstab_half": ("site", "Range range; real *r; const real *v; const double *state"),
        "bicgstab_overlap": (3, "Range range; double *partials; const real *t; const real *r; const double *state"),
        "bicgstab_update": (3, "Range range; double *partials; real *x; real *r; const real *p; const real *t; "
                               "const real *shadow; const double *state"),
        "bicgstab_start": ("scalar", _STATE + "double tolerance"),
        "bicgstab_outer": ("scalar", _STATE + "double reduction; double max_iterations"),
        "bicgstab_beta": ("scalar", _STATE.rstrip("; ")),
        "bicgstab_alpha": ("scalar", _STATE.rstrip("; ")),
        "bicgstab_omega": ("scalar", _STATE.rstrip("; ")),
        "bicgstab_next": ("scalar", _STATE + "double max_iterations"),
    },
    "bounds.cc": {
        "multiply_add_peak": ("site", "Range range; const real *data; real *out; int rounds"),
        "triad": ("site", "Range range; const real *x; const real *y; real *out; real s"),
    },
    "linear_algebra.cc": {
        "combine": ("site", _FLAT + "const real *x; const real *y; real *out; real a; real b"),
        "clear": ("site", _FLAT + "real *out"),
        "dot": (1, _FLAT + "double *partials; const real *x; const real *y"),
        "convert": ("site", _LATTICE + "const void *from; real *to; const int *table; int from_double; int from_lanes; "
                                       "int components; int run; real previous"),
        "pack": ("site", "Range range; const real *field; real *buffer; const int *list; int components"),
        "unpack": ("site", "Range range; const real *buffer; real *field; const int *list; int components"),
        "copy_part": ("site", "Range range; const real *from; real *to; int from_components; int to_components; "
                              "int components; real factor"),
        "sum_partials": ("sum", "const double *partials; double *result; long count; int components"),
        "combine_scalars": ("scalar", "const double *x; const double *y; double *out; double a; double b; double c"),
        "cg_direction": ("site", "Range range; real *x; real *p; const real *r; const double *state"),
        "cg_finish": ("site", "Range range; real *x; const real *p; const double *state"),
        "cg_residual": (1, "Range range; double *partials; real *r; const real *q; const double *state"),
        "cg_start": ("scalar", _STATE + "double tolerance"),
        "cg_outer": ("scalar", _STATE + "double reduction; double max_iterations"),
        "cg_alpha": ("scalar", _STATE.rstrip("; ")),
        "cg_beta": ("scalar", _STATE + "double max_iterations"),
        "residual_history": ("scalar", _STATE + "double *history; int length; int residual; int source; int iterations"),
        "multi_shift_start": ("scalar", _SHIFTS + "double tolerance"),
        "multi_shift_direction": ("site", "Range range; " + _SHIFTS + "real **solutions; real **directions; real *p; "
                                          "const real *r"),
        "multi_shift_finish": ("site", "Range range; " + _SHIFTS + "real **solutions; real **directions"),
        "multi_shift_alpha": ("scalar", _SHIFTS.rstrip("; ")),
        "multi_shift_beta": ("scalar", _SHIFTS + "double max_iterations"),
        "multi_shift_history": ("scalar", _SHIFTS + "double *history; int length"),
        "weighted_sum": ("site", "Range range; const real *x; real **fields; const double *weights; real *out; real constant; "
                                 "int count"),
        "add_shift": (1, "Range range; double *partials; const real *x; real *out; real shift"),
    },
}


class Range(ctypes.Structure):
    """Lane groups begin..end of `parities` parities from `first_parity` on; where a reduction puts its partial sums."""

    _fields_ = [(name, ctypes.c_int) for name in ("begin", "end", "first_parity", "parities", "partial_offset")]


class Geometry(ctypes.Structure):
    """Tables of one lane layout of a lattice (`kernels/target.h`)."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("neighbours", "permutations", "permutations32", "site_numbers")]
    _fields_ += [(name, ctypes.c_int) for name in ("groups", "stride", "shift_low", "shift_high", "prefetch", "distance")]


class Random(ctypes.Structure):
    """Key and counter of a draw: Philox key (seed, purpose), counter (site, component, trajectory, draw)."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("seed", "purpose", "trajectory", "draw")]


_TYPES = {"int": ctypes.c_int, "long": ctypes.c_long, "double": ctypes.c_double, "word": ctypes.c_uint32,
          "Range": Range, "Geometry": Geometry, "Random": Random}


def _fields(text: str, real: type) -> list:
    fields = []
    for declaration in filter(None, (part.strip() for part in text.split(";"))):
        kind, name = declaration.rsplit(" ", 1)
        pointer = name.startswith("*")
        value = ctypes.c_void_p if pointer else real if kind == "real" else _TYPES[kind]
        fields.append((name.lstrip("*"), value))
    return fields


@cache
def structure(file: str, name: str, real: str) -> type:
    """The ctypes argument struct of a kernel for real = "double" or "float"."""
    fields = _fields(KERNELS[file][name][1], ctypes.c_double if real == "double" else ctypes.c_float)
    return type(f"{name}_arguments", (ctypes.Structure,), {"_fields_": fields})


def header(file: str) -> str:
    """signatures.h for one kernel file: constants and argument structs."""
    constants = {"REDUCTION_BLOCK": REDUCTION_BLOCK, "REDUCTION_CHUNK": REDUCTION_CHUNK, "GAUGE_CHUNK": GAUGE_CHUNK}
    constants |= _CONSTANTS.get(file, {})
    enumeration = f"enum {{ {', '.join(f'{name} = {value}' for name, value in constants.items())} }};"
    structs = [f"struct {name}_arguments {{ {text.rstrip('; ')}; }};" for name, (_, text) in KERNELS[file].items()]
    return "\n".join(['#pragma once', enumeration, '#include "target.h"', *structs, ""])
