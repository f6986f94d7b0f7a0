"""How ranks are started inside a job: mpiexec, srun or flux run, and where their threads may run."""

import shlex

from slhmc.jobs.resources import Resources
from slhmc.jobs.site import Site


def launch_line(scheduler: str, site: Site, want: Resources, mpiexec: str, python: str, variables: list[str]) -> str:
    """The command that starts all ranks of slhmc, without the arguments of slhmc.

    mpiexec: that of the submitting environment; the site's command goes first, and the one on PATH if the site loads modules.
    variables: of the script's environment, handed to ranks on other nodes, which mpiexec may not do by itself.
    """
    launcher = site.launcher or ("flux" if scheduler == "flux" else "mpiexec")
    if want.ranks == 1 and site.launcher is None:
        return shlex.join([python, "-m", "slhmc"])  # needs no MPI
    if launcher == "mpiexec":
        words = [site.launcher_command or ("mpiexec" if site.modules else mpiexec), "-n", str(want.ranks)]
    elif launcher == "srun":
        words = [site.launcher_command or "srun", f"--ntasks={want.ranks}", f"--cpus-per-task={want.threads}",
                 *_srun_binding(site), *["--gpu-bind=none"] * want.gpu]
    else:
        words = [site.launcher_command or "flux", "run", f"--ntasks={want.ranks}", f"--cores-per-task={want.threads}",
                 *["--gpus-per-task=1", "-o", "gpu-affinity=per-task"] * want.gpu, *_flux_binding(site)]
    carried = ["env", *(f'{name}="${name}"' for name in variables)] if launcher == "mpiexec" and want.nodes > 1 else []
    # -m mpi4py: an exception on one rank ends all
    program = shlex.join([python, "-m", "mpi4py", "-m", "slhmc"])
    return " ".join([shlex.join([*words, *site.launcher_options]), *carried, program])


def launcher_environment(site: Site, want: Resources) -> dict[str, str]:
    """Variables for the binding by mpiexec, which each MPI names in its own way: Open MPI 5, Open MPI 4, Intel MPI."""
    if site.launcher in ("srun", "flux") or site.binding == "launcher":
        return {}
    if site.binding == "none":
        return {"PRTE_MCA_hwloc_default_binding_policy": "none", "OMPI_MCA_hwloc_base_binding_policy": "none", "I_MPI_PIN": "off"}
    return {
        "PRTE_MCA_rmaps_default_mapping_policy": f"slot:PE={want.threads}",
        "PRTE_MCA_hwloc_default_binding_policy": "core",
        "OMPI_MCA_rmaps_base_mapping_policy": f"slot:PE={want.threads}",
        "OMPI_MCA_hwloc_base_binding_policy": "core",
        "I_MPI_PIN_DOMAIN": "omp",
    }


def _srun_binding(site: Site) -> list[str]:
    return {"none": ["--cpu-bind=none"], "cores": ["--cpu-bind=cores"], "launcher": []}[site.binding]


def _flux_binding(site: Site) -> list[str]:
    return {"none": ["-o", "cpu-affinity=off"], "cores": ["-o", "cpu-affinity=per-task"], "launcher": []}[site.binding]
