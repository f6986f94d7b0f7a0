"""CUDA device: CuPy arrays, kernels compiled by NVRTC, one stream.

A process drives one GPU from one thread: its stream is made CuPy's current stream, so that CuPy's own copies and fills
stay in order with the kernels, and memory that CuPy hands out again is no longer in use.
"""

import ctypes
import os

import numpy as np

from slhmc.backend.cuda_compiler import INSTALL, compile_cuda, nvrtc_library
from slhmc.backend.device import Device, Kernel, kernel_table
from slhmc.backend.signatures import REDUCTION_BLOCK as BLOCK
from slhmc.backend.tape import Loop, Straight, Tape
from slhmc.errors import ComputationError, InputError

# Rank on the node, by launcher; Slurm last, as an mpiexec inside a Slurm job inherits SLURM_LOCALID = 0 on every rank.
LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID", "FLUX_TASK_LOCAL_ID",
                        "SLURM_LOCALID")


def local_rank() -> int:
    """This rank's number on its node, 0 without a launcher."""
    return next((int(os.environ[name]) for name in LOCAL_RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def launch_size(kernel: Kernel, arguments: ctypes.Structure) -> tuple[int, int]:
    """(blocks, threads of a block) of a kernel: a thread a lane for site kernels and reductions."""
    if kernel.kind == "scalar":
        return 1, 1
    if kernel.kind == "sum":
        return 1, BLOCK
    span = arguments.range
    return -(-(span.end - span.begin) * span.parities * kernel.lanes // BLOCK), BLOCK


def _usable_gpus():
    """CuPy, and how many GPUs it sees. Raises InputError if it cannot be imported or sees none."""
    try:
        import cupy
        import cupyx  # noqa: F401 - for its pinned memory
    except ImportError as error:
        raise InputError(f"device cuda needs CuPy, which cannot be imported ({error}): {INSTALL}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise InputError(f"device cuda: no GPU can be used ({error}); see that `nvidia-smi` shows a GPU and that the "
                         "driver is as new as CuPy wants, or use --device cpu") from None
    if count == 0:
        raise InputError("device cuda: no GPU is visible; see `nvidia-smi` and CUDA_VISIBLE_DEVICES, "
                         "or use --device cpu")
    return cupy, count


class CudaDevice(Device):
    """Kernels on one GPU. Messages go through pinned host memory, or with SLHMC_GPU_AWARE_MPI=1 from GPU to GPU."""

    name = "cuda"
    least_sites = 1 << 18
    tile_bytes = 32 << 20

    def __init__(self):
        super().__init__()
        self._cupy, count = _usable_gpus()
        gpu = self._cupy.cuda.Device(local_rank() % count)
        gpu.use()
        self._gpu = gpu
        self.arch = self._supported(gpu)
        self.stream = self._cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be captured into graphs
        self.stream.use()
        self._gpu_aware_mpi = os.environ.get("SLHMC_GPU_AWARE_MPI", "") not in ("", "0")
        self._flag = self._pinned((1,), np.float64)

    @staticmethod
    def _supported(gpu) -> str:
        nvrtc, version = nvrtc_library()
        capability = gpu.compute_capability
        if int(capability) not in nvrtc.getSupportedArchs():
            raise InputError(f"GPU {gpu.id} has compute capability {capability[:-1]}.{capability[-1]}; NVRTC "
                             f"{'.'.join(map(str, version))} does not compile for it: {INSTALL}")
        return f"sm_{capability}"

    def description(self):
        return self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)["name"].decode()

    # ---- arrays
    def empty(self, shape, dtype):
        try:
            return self._cupy.empty(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise ComputationError(f"the GPU's memory is full ({error}); use more ranks (one GPU each) or a smaller "
                                   "lattice") from None

    def to_host(self, array):
        return array.get(stream=self.stream)

    def assign(self, array, values):
        array.set(np.ascontiguousarray(values, array.dtype), stream=self.stream)
        self.synchronize()  # `values` may change or vanish after this

    def torch_device(self):
        """Torch works on this device's stream from now on, in order with the kernels."""
        import torch

        gpu = torch.device("cuda", self._gpu.id)
        torch.cuda.set_stream(torch.cuda.ExternalStream(self.stream.ptr, device=gpu))
        return gpu

    def pointer(self, array):
        return array.data.ptr

    # ---- messages
    def _pinned(self, shape, dtype):
        import cupyx

        return cupyx.empty_pinned(shape, dtype)

    def staging(self, buffer):
        return buffer if self._gpu_aware_mpi else self._pinned(buffer.shape, buffer.dtype)

    def stage_out(self, buffer, host):
        if host is not buffer:
            buffer.get(stream=self.stream, out=host)

    def stage_in(self, host, buffer):
        if host is not buffer:  # the next message comes after a synchronize (Device.call), so `host` may be copied late
            buffer.set(host, stream=self.stream)

    # ---- kernels
    def default_lanes(self, real):
        """16: half a warp reads one whole 128-byte line in double and two whole sectors in single, and a grid of
        2 x 2 x 2 x 2 lanes fits every local lattice from 4^4 on (32 would need an extent of 8). The same for both
        precisions, so that conversions of the mixed solver are plain copies.
        """
        return 16

    def load(self, file, defines, lanes):
        cubin, _ = compile_cuda(file, defines, self.arch)
        self._gpu.use()  # `prepare` loads in threads, and each thread begins with GPU 0
        module = self._cupy.cuda.function.Module()
        module.load(cubin)
        return kernel_table(file, defines["REAL"], lanes, module.get_function)

    def summed_groups(self, kernel, lanes):
        return BLOCK // lanes

    def execute(self, kernel, arguments):
        blocks, threads = launch_size(kernel, arguments)
        if blocks == 0:
            return
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))  # one parameter, the struct; copied by the call
        self._cupy.cuda.driver.launchKernel(kernel.function.ptr, blocks, 1, 1, threads, 1, 1, 0, self.stream.ptr,
                                            ctypes.addressof(parameters), 0)

    def synchronize(self):
        self.stream.synchronize()

    # ---- tapes
    def replay(self, tape: Tape):
        self._run(tape.pieces())

    def _run(self, pieces: list) -> None:
        for piece in pieces:
            if isinstance(piece, Straight):
                self._run_straight(piece)
            elif isinstance(piece, Loop):
                while self._is_set(piece.cell):
                    self._run(piece.body)
            else:
                self.synchronize()
                piece()

    def _run_straight(self, piece: Straight) -> None:
        """Kernel by kernel the first time, as one CUDA graph from the second time on."""
        piece.runs += 1
        if piece.runs == 1 or len(piece.calls) == 1:
            for kernel, arguments in piece.calls:
                self.execute(kernel, arguments)
            return
        if piece.graph is None:
            self.stream.begin_capture()
            for kernel, arguments in piece.calls:
                self.execute(kernel, arguments)
            piece.graph = self.stream.end_capture()
        piece.graph.launch(stream=self.stream)

    def _is_set(self, cell: int) -> bool:
        """Whether the double at a device address is not 0: a round trip to the host before each iteration of a loop.
        To run some iterations blindly instead would need bodies that do nothing once their flag has fallen.
        """
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(self._flag.ctypes.data, cell, self._flag.nbytes, runtime.memcpyDeviceToHost,
                            self.stream.ptr)
        self.synchronize()
        return self._flag[0] != 0
