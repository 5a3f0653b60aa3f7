"""A search by Optuna: which cells to compute next, and what they gave."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecg_jax.errors import SweepError
from ecg_jax.sweeps.config import Cell, Interval, SweepConfig
from ecg_jax.sweeps.drivers import extra
from ecg_jax.sweeps.keys import typed

JOURNAL = "search.journal"


def rounds(
    config: SweepConfig, folder: Path, value: Callable[[Cell], float | None]
) -> Iterator[list[Cell]]:
    """Cells to compute, a round at a time; each round knows those before it.

    Every trial has a seed of its own, so that a search which was killed asks for the
    same cells as one that was not, where trials run one by one and none fails. A trial
    without a value stays open in the journal, and the next call asks for it again.

    Args:
      config: with a search.
      folder: of the sweep; holds the journal.
      value: the objective of a cell that is done; None of one that failed.

    Yields:
      Cells; when the next round is asked for, they are done or have failed.

    Raises:
      MissingExtraError: Optuna is not installed.
      SweepError: the journal is of another space.
    """
    search = config.search
    assert search is not None
    optuna = extra("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = optuna.storages.journal
    (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # of a killed process
    study = optuna.create_study(
        storage=journal.JournalStorage(
            journal.JournalFileBackend(str(folder / JOURNAL))
        ),
        study_name=JOURNAL,
        direction="maximize",
        load_if_exists=True,
    )
    space = {key: _distribution(optuna, at) for key, at in search.space.items()}
    begun = study.get_trials(deepcopy=False)
    for trial in begun:
        if trial.distributions and trial.distributions != space:
            raise SweepError(
                f"{folder} holds a search of another space.\n"
                "  try: another --out, or the space that it was begun with"
            )
    asked = len(begun)
    told = [trial.params for trial in begun if trial.state.is_finished()]
    yield [_cell(config, params) for params in told]
    numbers = {t.number: t.params for t in begun if not t.state.is_finished()}
    while numbers or asked < search.trials:
        while len(numbers) < search.parallel and asked < search.trials:
            study.sampler = optuna.samplers.TPESampler(seed=search.seed + asked)
            trial = study.ask(space)
            numbers[trial.number] = trial.params
            asked += 1
        cells = {number: _cell(config, params) for number, params in numbers.items()}
        numbers = {}
        yield list(cells.values())
        for number, cell in cells.items():
            if (found := value(cell)) is not None:
                study.tell(number, found)


def _distribution(optuna: Any, at: Interval | tuple[Any, ...]) -> Any:
    """What Optuna calls the values of an option; lists are texts there."""
    if not isinstance(at, Interval):
        texts = [json.dumps(value) for value in at]
        return optuna.distributions.CategoricalDistribution(texts)
    kind = "Int" if type(at.low) is int else "Float"
    return getattr(optuna.distributions, f"{kind}Distribution")(
        at.low, at.high, log=at.log
    )


def _cell(config: SweepConfig, params: dict[str, Any]) -> Cell:
    """The cell of a trial, its options in the order of the configuration."""
    read = {k: json.loads(v) if isinstance(v, str) else v for k, v in params.items()}
    options = {key: typed(key, read[key], "search") for key in config.axes}
    return config.cell("", options)
