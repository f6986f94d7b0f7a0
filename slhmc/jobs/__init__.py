"""Batch jobs: scripts for schedulers, chains of dependent jobs, and what became of them."""

from slhmc.jobs.chain import QueueState, cancel, find_scheduler, queue_states, submit
from slhmc.jobs.record import JobRecord, Submitted, exit_code, last_words
from slhmc.jobs.resources import Resources, seconds_of
from slhmc.jobs.script import SCHEDULERS, Job, job_script
from slhmc.jobs.site import Site, directive_word, load_site

__all__ = [
    "SCHEDULERS",
    "Job",
    "JobRecord",
    "QueueState",
    "Resources",
    "Site",
    "Submitted",
    "cancel",
    "directive_word",
    "exit_code",
    "find_scheduler",
    "job_script",
    "last_words",
    "load_site",
    "queue_states",
    "seconds_of",
    "submit",
]
