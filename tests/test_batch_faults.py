"""Batch jobs that meet what should not be: no launcher, damaged records, odd names, words that would be more than words."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from running import CARD, CARDS, card_file, refusal, sets, slhmc_command

from slhmc.cli import submit as submit_module
from slhmc.errors import InputError
from slhmc.jobs import Job, JobRecord, QueueState, Resources, Site, Submitted, exit_code, job_script, last_words, load_site

GAUGE_CARD = CARD[:CARD.index("[[quarks]]")] + CARD[CARD.index("[hmc]"):CARD.index("[measure.chiral")]
TRAINING = CARDS / "su2_staggered_train.toml"
SECONDS = 60
ONE_RANK = Resources(nodes=1, ranks=1, threads=1, gpu=False, seconds=3600, warning=300)
TWO_RANKS = Resources(nodes=1, ranks=2, threads=1, gpu=False, seconds=3600, warning=300)


@pytest.fixture(autouse=True)
def sites(tmp_path, monkeypatch):
    """A configuration folder of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "slhmc" / "sites"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def card(tmp_path):
    return card_file(tmp_path, GAUGE_CARD)


def script_of(folder, want=ONE_RANK, site=Site(), python="/no/python", scheduler="local"):  # noqa: B008 - frozen
    (folder / "job").mkdir(parents=True, exist_ok=True)
    script = folder / "job" / "job.sh"
    script.write_text(job_script(scheduler, Job("name", folder, "run", "card.toml", want, site, str(python))))
    return script


def outcome(script):
    return subprocess.run(["bash", str(script)], timeout=SECONDS, check=False).returncode


def dry(capsys, *arguments):
    capsys.readouterr()
    assert slhmc_command("submit", *arguments, "--dry-run") == 0
    return capsys.readouterr().out


# ---- jobs
@pytest.mark.parametrize(("want", "site"), [(ONE_RANK, Site()), (TWO_RANKS, Site(launcher_command="/no/mpiexec"))])
def test_a_program_that_is_not_there_is_no_success(tmp_path, want, site):
    """127 for this job and for the next one; a run that has not begun is not done."""
    script = script_of(tmp_path, want, site)
    assert outcome(script) == 127 and exit_code(tmp_path) == 127
    assert outcome(script) == 127
    texts = [path.read_text() for path in (tmp_path / "job").glob("*.out")]
    assert sum("No such file" in text for text in texts) == 1
    assert sum("the job before this one failed with exit code 127" in text for text in texts) == 1


def test_a_module_that_is_not_there_ends_the_chain(tmp_path):
    """The jobs after it would find no more."""
    script = script_of(tmp_path, site=Site(modules=["no-such-module/1"]), python="/bin/true")
    assert [outcome(script), exit_code(tmp_path), outcome(script)] == [127, 127, 127]
    assert "the job before this one failed with exit code 127" in "".join(
        path.read_text() for path in (tmp_path / "job").glob("*.out"))


def test_the_error_of_a_chain_is_that_of_the_job_that_failed(tmp_path, capsys):
    """Those after it say only that they did nothing."""
    pytest.importorskip("psij")
    program = tmp_path / "program"
    program.write_text("#!/bin/bash\necho 'slhmc: beta must be positive' >&2; exit 2\n")
    program.chmod(0o755)
    script = script_of(tmp_path, python=program)
    assert [outcome(script) for _ in range(3)] == [2, 2, 2]
    newest = tmp_path / "job" / "9.out"
    newest.write_text("slhmc: the job before this one failed with exit code 2: see its output here\n")
    os.utime(newest, (2e9, 2e9))
    assert last_words(tmp_path) == "beta must be positive"
    JobRecord("local", [Submitted("999999999", 0.0)]).write(tmp_path)
    assert slhmc_command("status", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path}: queue: ended  failed  error: beta must be positive\n"


@pytest.mark.parametrize("name", ["a;b", "a&b", "a(b)", "a*b?", "a`b`", "a<b>c|d", "-r", "~a!b", "a[b]", "a=b@c^d", "aéb"])
def test_names_of_directories_reach_the_job_as_they_are(tmp_path, name):
    program = tmp_path / "program"
    program.write_text('#!/bin/bash\necho "$PWD" >where; exit 0\n')
    program.chmod(0o755)
    run = tmp_path / name
    assert outcome(script_of(run, python=program)) == 0
    assert (run / "where").read_text() == f"{run}\n" and exit_code(run) == 0


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a$b", "a\\b", "a%b", "a{b}", "a,b", "a:b", "a#b", "a\nb", "a\x1bb"])
def test_names_that_schedulers_do_not_take_are_refused(tmp_path, capsys, card, name):
    assert "in the path, which schedulers do not take" in refusal(capsys, "submit", card, "-o", tmp_path / name, "--dry-run")


@pytest.mark.parametrize("scheduler", ["slurm", "pbs", "lsf", "flux", "local"])
@pytest.mark.parametrize("text", ["x\ntouch here", "a b", "a#b", "'a'", "a\rb", " "])
def test_directives_are_not_ended_by_their_words(tmp_path, capsys, card, scheduler, text):
    for option in ("--account", "--partition"):
        assert f"{option} {text!r}: one word without quotes and # expected" in refusal(
            capsys, "submit", card, "-o", tmp_path / "run", "--scheduler", scheduler, option, text, "--dry-run")


@pytest.mark.parametrize(("text", "words"), [
    ('account = "a\\nb"', "account: one word without quotes and # expected"),
    ('partition = "a b"', "partition: one word without quotes and # expected"),
    ('directives = ["a\\rb"]', "directives: each entry must be one line of text"),
    ('lines = ["a\\u001bb"]', "lines: each entry must be one line of text"),
])
def test_words_of_a_site(sites, text, words):
    (sites / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        load_site("bad")
    (sites / "good.toml").write_text('lines = ["\\texport A=\\"b c\\""]\naccount = "a-b.c_d@e"\n')
    assert load_site("good").account == "a-b.c_d@e"


def test_a_scratch_of_nobody(tmp_path, capsys, sites, card):
    (sites / "default.toml").write_text('scratch = "~no-such-user/runs"\n')
    assert "scratch = '~no-such-user/runs' of the site: " in refusal(capsys, "submit", card, "--dry-run")
    (sites / "default.toml").write_text('scratch = "$NO_SUCH_VARIABLE/runs"\n')
    assert "'$' in the path" in refusal(capsys, "submit", card, "--dry-run")


def test_python_path_is_that_of_the_submitting_directory(tmp_path, capsys, card, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", "src", "/opt/lib", ""]))
    text = dry(capsys, card, "-o", tmp_path / "run", "--scheduler", "local")
    assert f"export PYTHONPATH={tmp_path}:{tmp_path}/src:/opt/lib\n" in text


def test_without_psij_the_job_is_made_ready(tmp_path, capsys, card, monkeypatch):
    """What the message says to send by hand is there, and does what a job does."""
    for name in [name for name in sys.modules if name == "slhmc.jobs.executors" or name.partition(".")[0] == "psij"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psij", None)
    run = tmp_path / "run"
    message = refusal(capsys, "submit", card, "-o", run, "--scheduler", "local", *sets("run.trajectories=1"))
    assert message.endswith(f"or send {run / 'job' / 'job.sh'} by hand")
    assert (run / "job" / "card.toml").exists() and "set -- run job/card.toml" in (run / "job" / "job.sh").read_text()


def test_a_training_that_was_killed_before_it_began_is_no_run(tmp_path, capsys):
    """With its card alone, `resume` would take it for a run; what has begun is resumed."""
    run = tmp_path / "run"
    (run / "job").mkdir(parents=True)
    text = TRAINING.read_text()
    for path in (run / "card.toml", run / "job" / "card.toml"):
        path.write_text(text)
    (run / "job" / "job.sh").write_text(dry(capsys, TRAINING, "-o", tmp_path / "other", "--scheduler", "local"))
    again = dry(capsys, run, "--scheduler", "local")
    assert "if [ -e train.h5 ]" in again and "set -- train job/card.toml -o ." in again
    (run / "train.h5").touch()
    assert "if [ -e card.toml ]" in dry(capsys, run, "--scheduler", "local")


def test_a_run_that_goes_on_is_checked_before_its_job(tmp_path, capsys):
    (tmp_path / "card.toml").write_text(GAUGE_CARD.replace("colors = 2", "colors = 2\nranks = [2, 2]"))
    assert "is a grid of 4 ranks, but the job has 2" in refusal(capsys, "submit", tmp_path, "-n", 2, "--dry-run")
    assert "--ntasks=4" in dry(capsys, tmp_path, "-n", 4, "--scheduler", "slurm")
    (tmp_path / "card.toml").write_text(GAUGE_CARD.replace("colors = 2", "colors = 1"))
    assert "lattice.colors" in refusal(capsys, "submit", tmp_path, "--dry-run")


def test_two_submissions_at_once(tmp_path, card, monkeypatch):
    """The second finds the jobs of the first in the queue, though it began before they were sent."""
    pytest.importorskip("psij")
    run, sending, messages, sent = tmp_path / "run", threading.Event(), [], []

    def slow_submit(scheduler, directory, count):
        sending.set()
        time.sleep(0.3)  # long enough for the second one, if nothing held it
        record = JobRecord(scheduler, [Submitted(f"{count}", 0.0)])
        record.write(directory)
        sent.append(count)
        return record

    def states(records):
        jobs = [(record.scheduler, job.id) for record in records for job in record.jobs]
        return {job: QueueState(job[1], "queued") for job in jobs}, []
    monkeypatch.setattr(submit_module, "submit", slow_submit)
    monkeypatch.setattr(submit_module, "queue_states", states)

    def send(chain):
        try:
            submit_module.submit_jobs(card, run, [], submit_module.Options(scheduler="local", chain=chain))
        except InputError as error:
            messages.append(str(error))
    first = threading.Thread(target=send, args=(1,))
    first.start()
    assert sending.wait(SECONDS)
    send(2)
    first.join(SECONDS)
    assert sent == [1] and len(messages) == 1 and "jobs of this run are in the queue: 1 (queued)" in messages[0]


# ---- records and status
@pytest.mark.parametrize("text", ["[]", "{", '{"scheduler": "local", "jobs": []}', '{"scheduler": "local", "jobs": null}',
                                  "[" * 99999,
                                  '{"scheduler": "local", "jobs": [{"id": "-e", "submitted": 0}]}',
                                  '{"scheduler": "local", "jobs": [{"id": "1 2", "submitted": 0}]}',
                                  '{"scheduler": "local", "jobs": [{"id": "1", "submitted": "x"}]}'], ids=range(8))
def test_damaged_records_of_jobs(tmp_path, capsys, text):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "jobs.json").write_text(text)
    for command in ("status", "cancel", "submit"):
        if command == "submit":
            (tmp_path / "card.toml").write_text(GAUGE_CARD)
        assert "jobs.json: damaged" in refusal(capsys, command, tmp_path)


def test_a_number_that_no_process_has(tmp_path, capsys):
    """What ps says of it is no table."""
    pytest.importorskip("psij")
    (tmp_path / "job").mkdir()
    JobRecord("local", [Submitted("abc", 0.0)]).write(tmp_path)
    (tmp_path / "job" / "exit_code").write_bytes(b"\xff\xfe\n")
    assert slhmc_command("status", tmp_path) == 0
    assert "queue: ended  killed" in capsys.readouterr().out


def test_answers_that_are_none(monkeypatch, tmp_path, capsys):
    """A scheduler whose commands print something else."""
    pytest.importorskip("psij")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("squeue", "qstat", "bjobs", "flux"):
        (commands / name).write_text("#!/bin/sh\necho '[1]'; echo; echo word\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    for scheduler in ("slurm", "pbs", "lsf", "flux"):
        run = tmp_path / scheduler
        (run / "job").mkdir(parents=True)
        JobRecord(scheduler, [Submitted("1", 0.0)]).write(run)
        assert slhmc_command("status", run) == 0
        assert str(run) in capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"state": "running", "acceptance": "x", "eta_seconds": [], "trajectory": {}, "total": true}',
                                  '{"state": "running", "trajectory": 1, "total": 4, "eta_seconds": 1e20}',
                                  '{"state": 3, "acceptance": NaN, "plaquette": 1e999, "other": [NaN]}'])
def test_a_status_with_words_for_numbers(tmp_path, capsys, text):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text(text)
    for arguments in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "b"]):
        assert slhmc_command("status", *arguments) == 0
        assert "nan" not in capsys.readouterr().out
    assert slhmc_command("status", tmp_path / "a", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["directory"] == str(tmp_path / "a")


def test_a_status_that_goes_while_it_is_read(tmp_path, capsys, monkeypatch):
    pytest.importorskip("psij")
    (tmp_path / "job").mkdir()
    JobRecord("local", [Submitted("999999999", 0.0)]).write(tmp_path)
    (tmp_path / "status.json").write_text('{"state": "done", "trajectory": 3}')
    (tmp_path / "job" / "exit_code").write_text("0\n")
    read = Path.read_text

    def read_and_remove(path, *arguments, **options):
        text = read(path, *arguments, **options)
        if path.name == "status.json":
            path.unlink()
        return text
    monkeypatch.setattr(Path, "read_text", read_and_remove)
    assert slhmc_command("status", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path}: queue: ended  done  trajectory 3\n"


# ---- cancel
def test_one_directory_without_jobs_does_not_keep_the_others_running(tmp_path, capsys):
    pytest.importorskip("psij")
    for name in ("a", "b"):
        (tmp_path / name / "job").mkdir(parents=True)
        JobRecord("local", [Submitted("999999999", 0.0)]).write(tmp_path / name)
    assert slhmc_command("cancel", tmp_path / "a", tmp_path / "none", tmp_path / "b") == 2
    told = capsys.readouterr()
    assert told.out == "".join(f"{tmp_path / name}: no job is left in the queue\n" for name in ("a", "b"))
    assert told.err == f"slhmc: {tmp_path / 'none'}: no jobs of `slhmc submit` found; check the path\n"


def test_a_job_that_ends_while_it_is_cancelled(tmp_path, capsys, monkeypatch):
    """squeue has it still, scancel does not: no fault unless it is there when asked again."""
    pytest.importorskip("psij")
    commands, run = tmp_path / "bin", tmp_path / "run"
    for folder in (commands, run / "job"):
        folder.mkdir(parents=True)
    (commands / "squeue").write_text(f"#!/bin/sh\n[ -e {tmp_path}/ended ] || echo '7|R|None'\n")
    (commands / "scancel").write_text(f"#!/bin/sh\n[ -e {tmp_path}/stays ] || touch {tmp_path}/ended\n"
                                      "echo 'scancel: error: Kill job error on job id 7: no such job' >&2; exit 1\n")
    for path in commands.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    JobRecord("slurm", [Submitted("7", 0.0)]).write(run)
    (tmp_path / "stays").touch()
    assert "slurm did not cancel job 7: " in refusal(capsys, "cancel", run)
    (tmp_path / "stays").unlink()
    assert slhmc_command("cancel", run) == 0
    assert capsys.readouterr().out == f"{run}: no job is left in the queue\n"
