"""What decides a run: its configuration, as options and as JSON."""

import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ecg_jax.ecg.beats import BeatConfig
from ecg_jax.ecg.classes import parse
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.runs.source import Source, is_beats_file, source_of
from ecg_jax.storage.files import plain
from ecg_jax.storage.manifest import sha256
from ecg_jax.tree.cover import CoverConfig
from ecg_jax.tree.grow import check_options

FORMAT = "ecg_jax.run/1"


@dataclass(frozen=True)
class TreeConfig:
    """How the equation is grown.

    Attributes:
      depth: how many levels of gates a component may freeze.
      budget: components (leaves) on each side.
      min_count: no cell is split into halves of fewer training beats.
      metric: what distances between beats are taken of.
      select: how the components of the first level are chosen; see `grow`.
      localize: how much margin a squared distance costs where a component is to decide;
        None: the nearest proof decides.
    """

    depth: int = 2
    budget: int = 8
    min_count: int = 200
    metric: Literal["shape", "euclidean", "cut"] = "shape"
    select: Literal["prototypes", "medoids", "frequent", "boundary", "greedy"] = (
        "prototypes"
    )
    localize: float | None = None

    def __post_init__(self) -> None:
        """Refuse a tree that cannot be grown."""
        check_options(**asdict(self))


# Chosen on validation recordings of CinC 2017: see experiments/networks.
BEATS = BeatConfig(before_s=0.5, after_s=0.75)
NETWORK, TRAINING = NetworkConfig(), TrainingConfig()
TREE, COVER = TreeConfig(), CoverConfig()


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run.

    Attributes:
      data: "synthetic", "challenge-2017", "mitdb", "ptb-xl", a folder in WFDB layout,
        or a file of beats (.npz, .csv, .parquet).
      data_dir: where the recordings of a named data set are.
      labels: which labels are of which class, such as NORM=N,MI=O, where N is normal;
        or a table with the columns recording,label and, maybe, fold; or both, with a
        comma between. Default: what the data say; "N", "normal", "NORM", "NSR" and
        "SNR" are normal.
      beats: how beats are cut out.
      network: the network's shape; leads and samples follow from the beats.
      training: how it is trained.
      tree: how its equation is grown; that of templates, unless something is said of
        it: one level, a component for each template, which decides where its bound is
        best.
      cover: how the components of the first level are chosen.
    """

    data: str = "synthetic"
    data_dir: Path | None = None
    labels: str = ""
    beats: BeatConfig = BEATS
    network: NetworkConfig = NETWORK
    training: TrainingConfig = TRAINING
    tree: TreeConfig = TREE
    cover: CoverConfig = COVER

    @property
    def grown(self) -> TreeConfig:
        """How the equation is grown: of templates, each is a component."""
        if self.network.kind != "templates" or self.tree != TREE:
            return self.tree
        return TreeConfig(
            depth=1,
            budget=self.network.templates,
            min_count=1,
            select="frequent",
            localize=0.0,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object, without what is no part of it or follows from the beats."""
        values = plain(asdict(replace(self, tree=self.grown)))
        del values["data_dir"]
        del values["network"]["num_leads"], values["network"]["num_samples"]
        if is_beats_file(self.data):  # they are cut already
            values |= {"beats": None, "data_sha256": sha256(Path(self.data))}
        if not self.labels:
            del values["labels"]
        elif (table := parse(self.labels)[1]) is not None:
            values["labels_sha256"] = sha256(table)
        return {"format": FORMAT, **values}

    def command(self, out: str) -> str:
        """The command line that repeats the run; DIR stands for a `data_dir`."""
        words = [f"ecg-jax run {self.source()}", *options(self)]
        return " ".join([*words, f"--out {shlex.quote(out)}"])

    def source(self) -> str:
        """The options that name the recordings."""
        placed = "" if self.data_dir is None else " --data-dir DIR"
        told = f" --labels {shlex.quote(self.labels)}" if self.labels else ""
        return f"--data {shlex.quote(self.data)}{placed}{told}"

    @property
    def recordings(self) -> Source:
        """The data set."""
        return source_of(self.data, self.data_dir, self.labels)


def beat_config(card: ModelCard) -> BeatConfig:
    """How a model's beats are cut, as its card says, or as in a default run."""
    return card.contract or RunConfig().beats


def options(config: RunConfig, default: RunConfig | None = None) -> list[str]:
    """The options by which a configuration differs from the default."""
    words, default = [], default or RunConfig()
    for part in ("beats", "network", "training", "tree", "cover"):
        mine, usual = getattr(config, part), getattr(default, part)
        for item in fields(mine):
            value = getattr(mine, item.name)
            if value == getattr(usual, item.name):
                continue
            name = f"{part}.{item.name.replace('_', '-')}"
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--{part}.no-{name[6:]}")
            elif isinstance(value, tuple):
                words.append(shlex.join([f"--{name}", *map(str, value)]))
            else:
                words.append(f"--{name} {value}")
    return words
