"""A stand-in for PBS: qsub, qstat, qsig and qdel for one job after the other; a job is a process."""

import os
import sys

COMMANDS = {
    "qsub": """
import json, os, subprocess, sys
folder = os.environ["STAND_IN"]
after = sys.argv[sys.argv.index("-W") + 1].removeprefix("depend=afterany:") if "-W" in sys.argv else ""
script = sys.argv[-1]
chunk = next(line.split("select=")[1].strip() for line in open(script) if line.startswith("#PBS -l select"))
nodes, ranks = int(chunk.split(":")[0]), int(chunk.split("mpiprocs=")[1].split(":")[0])
ranks = int(os.environ.get("STAND_IN_RANKS", ranks))
number = f"{len(os.listdir(folder)) + 1}.server"
base = os.path.join(folder, number)
os.mkdir(base)
with open(base + "/nodes", "w") as file:
    file.write("node\\n" * (nodes * ranks))
variables = {name: os.environ[name] for name in ("PATH", "HOME")}  # the rest of the environment does not travel
variables |= {"PBS_JOBID": number, "PBS_NODEFILE": base + "/nodes"}
wait = f"while [ ! -e '{folder}/{after}/end' ]; do sleep 0.1; done; " if after else ""
line = f"{wait}[ ! -e '{base}/deleted' ] || exit; touch '{base}/begun'; bash '{script}' & "
line += f"echo $! >'{base}/pid'; wait; touch '{base}/end'"
subprocess.Popen(["setsid", "bash", "-c", line], env=variables, stdin=subprocess.DEVNULL, stdout=open(base + "/o", "w"),
                 stderr=subprocess.STDOUT)
print(number)
""",
    "qstat": """
import json, os, sys
folder, jobs = os.environ["STAND_IN"], {}
for number in (word for word in sys.argv[1:] if word.endswith(".server")):
    base = os.path.join(folder, number)
    if os.path.exists(base):
        jobs[number] = {"job_state": "F" if os.path.exists(base + "/end") else "R" if os.path.exists(base + "/begun") else "H"}
print(json.dumps({"Jobs": jobs}))
""",
    "qsig": """
import os, signal, sys
os.kill(int(open(os.path.join(os.environ["STAND_IN"], sys.argv[-1], "pid")).read()), signal.SIGUSR1)
""",
    "qdel": """
import os, sys
for name in ("deleted", "end"):
    open(os.path.join(os.environ["STAND_IN"], sys.argv[-1], name), "w").close()
""",
}


def stand_in_for_pbs(folder, monkeypatch):
    """Its commands on PATH; it works in `folder`."""
    programs = folder / "bin"
    programs.mkdir()
    (folder / "server").mkdir()
    for name, text in COMMANDS.items():
        (programs / name).write_text(f"#!{sys.executable}\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(folder / "server"))
