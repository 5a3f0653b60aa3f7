"""What computes the cells of a sweep: a loop, Ray, or jobs by submitit.

A driver is a context that gives a function: it takes what computes a task, and tasks,
and tells of each as it ends, in any order, its figures or why there are none.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ecg_jax.errors import DriverError, MissingExtraError, SweepError
from ecg_jax.sweeps.cell import Result, Task

Compute = Callable[[Task], Result]
Ended = Iterator[tuple[Task, Result]]
Drive = Callable[[Compute, Sequence[Task]], Ended]
Driver = AbstractContextManager[Drive]

POLL_S, POLL_SLURM_S = 0.1, 10.0
"""How often jobs are asked for."""

ANSWERS_S = 5.0
"""So long a cluster may take to answer, and so often a silent one is asked."""


def driver_of(
    name: Literal["loop", "ray", "submitit"],
    folder: Path,
    parameters: Mapping[str, Any],
    workers: int,
    address: str | None,
) -> Driver:
    """The driver of a name, for a sweep in a folder; see the drivers themselves.

    Raises:
      SweepError: there are no workers.
    """
    if workers < 1:
        raise SweepError(f"workers is {workers}.\n  try: a whole number from 1 on")
    if name == "ray":
        return on_ray(address, workers)
    if name == "submitit":
        return on_submitit(folder / "jobs", parameters, workers)
    return loop()


@contextmanager
def loop() -> Iterator[Drive]:
    """One cell after the other, in this process."""

    def drive(compute: Compute, tasks: Sequence[Task]) -> Ended:
        for task in tasks:
            yield task, compute(task)

    yield drive


@contextmanager
def on_ray(address: str | None = None, workers: int = 2) -> Iterator[Drive]:
    """Tasks of Ray core, each on one CPU of a cluster.

    Args:
      address: of the cluster; None starts one on this machine.
      workers: how many cells at once, where one is started.

    Raises:
      MissingExtraError: Ray is not installed.
      DriverError: there is no cluster at the address, or it went away.
    """
    ray = extra("ray")
    cluster = {"num_cpus": workers, "include_dashboard": False, "address": "local"}
    where = f"the Ray cluster at {address}" if address else "Ray on this machine"
    try:
        if address and ":" in address:
            _ask(address)
        options = {"address": address} if address else cluster
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise _away(f"{where} cannot be reached", error) from error
    own = ray.get_runtime_context().gcs_address
    head = address if address and ":" in address else own

    def drive(compute: Compute, tasks: Sequence[Task]) -> Ended:
        remote = ray.remote(num_cpus=1, max_retries=0)(compute)
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            try:
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=ANSWERS_S)
                ended = [(waiting.pop(one), _outcome(ray, one)) for one in ready]
                if not ended:
                    _ask(head)
            except (ray.exceptions.RayError, OSError) as error:
                raise _away(f"{where} went away", error) from error
            yield from ended

    try:
        yield drive
    finally:
        ray.shutdown()


@contextmanager
def on_submitit(
    logs: Path,
    parameters: Mapping[str, Any],
    workers: int = 2,
    cluster: str | None = None,
) -> Iterator[Drive]:
    """Job arrays, by Slurm or, where there is none, in processes of this machine.

    Args:
      logs: a folder for what jobs print; every machine must see it.
      parameters: of `submitit.AutoExecutor`, such as `slurm_partition`.
      workers: how many jobs run at once; on Slurm `slurm_array_parallelism` goes
        before it.
      cluster: "slurm" or "local"; default: what submitit finds.

    Raises:
      MissingExtraError: submitit is not installed.
      DriverError: no jobs can be submitted.
    """
    submitit = extra("submitit")
    errors = submitit.core.utils
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
        on_slurm = executor.cluster == "slurm"
        most = {"slurm_array_parallelism": workers} if on_slurm else {}
        executor.update_parameters(**{**most, **parameters})
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        raise _away("submitit cannot be used", error) from error

    def drive(compute: Compute, tasks: Sequence[Task]) -> Ended:
        size = len(tasks) if on_slurm else workers
        for start in range(0, len(tasks), size):
            array = tasks[start : start + size]
            try:
                submitted = executor.map_array(compute, array)
            except (OSError, errors.FailedSubmissionError) as error:
                raise _away("jobs cannot be submitted", error) from error
            jobs = {
                job.job_id: task for job, task in zip(submitted, array, strict=True)
            }
            wait_s = POLL_SLURM_S if on_slurm else POLL_S
            for job in submitit.helpers.as_completed(submitted, None, wait_s):
                try:
                    result = job.result()
                except errors.UncompletedJobError as error:
                    result = str(error)
                yield jobs[job.job_id], result

    yield drive


def extra(name: str) -> Any:
    """A package of the extra `sweep`.

    Raises:
      MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"this sweep needs `{name}`.\n  try: pip install 'ecg_jax[sweep]'"
        ) from error


def _outcome(ray: Any, ended: Any) -> Result:
    """What a task of Ray returned, or why its process could not."""
    errors = ray.exceptions
    try:
        return ray.get(ended)
    except (
        errors.RayTaskError,
        errors.WorkerCrashedError,
        errors.OutOfMemoryError,
    ) as error:
        return str(error)


def _ask(address: str) -> None:
    """Raises OSError if nothing answers; Ray itself waits, and then ends the process.

    Args:
      address: of a cluster.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), ANSWERS_S).close()


def _away(what: str, error: Exception) -> DriverError:
    reason = str(error).strip().partition("\n")[0].partition(". ")[0]
    return DriverError(
        f"{what}: {reason}\n  try: the same command again; finished cells stay"
    )
