"""The command line: one function per command, imports where they are used."""

import contextlib
import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from ecg_jax.progress import Display

Call = Callable[[], object]

USAGE = """usage: ecg-jax COMMAND [options]

Rewrite a neural ECG model exactly as an equation of a few components, and show which
ECGs each component answers for. Research use only; not a medical device.

commands:
  run       the main job: recordings -> network -> equation -> partition -> report
  factor    an existing model, a saved one or an ONNX file, on a data set
  distill   a few templates that answer as an existing model does
  evaluate  a saved run on other recordings: one JSON object
  explain   one recording: what answers for each beat, and what is proven
  compare   two runs: which beats changed their answer or component
  sweep     many networks by one configuration: a grid or a search; their results
  fetch     download challenge-2017, mitdb or ptb-xl from PhysioNet
  cite      whom to cite

  ecg-jax COMMAND --help   lists the options of a command
  ecg-jax --version        prints the version
"""


def run(args: list[str]) -> Call:
    """Train a network, factor it, and write the report."""
    import tyro

    from ecg_jax.runs.config import RunConfig
    from ecg_jax.runs.foreign import config_of, run_model
    from ecg_jax.runs.pipeline import run as run_pipeline

    named = _value(args, "--model")
    usual = RunConfig() if named is None else config_of(Path(named))

    def main(
        config: Annotated[RunConfig, tyro.conf.arg(name="")] = usual,
        model: Path | None = None,
        out: Path = Path("run"),
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """The main job: recordings to report.

        Args:
          config: everything that decides the result.
          model: a trained network, in place of training one: a released one by its
            name, a folder with a saved network, a run folder, or a file model.onnx.
            Recordings and beats are by default those of its card.
          out: the run folder.
          resume: go on with an interrupted run.
          quiet: print nothing but errors.
        """
        with Display(quiet=quiet) as shown:
            told = {"resume": resume, "say": shown.say, "begin": shown.begin}
            if model is None:
                run_pipeline(config, out, **told)
            else:
                run_model(model, config, out, **told)

    return _parsed(main, "run", args)


def factor(args: list[str]) -> Call:
    """Factor an existing model on a data set."""
    import tyro

    from ecg_jax.ecg.cut import BeatConfig
    from ecg_jax.runs.config import TreeConfig
    from ecg_jax.runs.foreign import beats_of_first, factor_model
    from ecg_jax.tree.cover import CoverConfig

    def main(
        model: tyro.conf.Positional[Path],
        data: str,
        out: Path,
        data_dir: Path | None = None,
        labels: str = "",
        normal_class: int = 0,
        output: str | None = None,
        beats: BeatConfig = beats_of_first(args),  # noqa: B008
        tree: TreeConfig = TreeConfig(),  # noqa: B008
        cover: CoverConfig = CoverConfig(),  # noqa: B008
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """Factor a saved network, a run, or an ONNX file.

        Args:
          model: a folder with a saved network, a run folder, the name of a released
            network, or a file model.onnx.
          data: "synthetic", "challenge-2017", "mitdb", "ptb-xl", a folder in WFDB
            layout, or a file of beats (.npz, .csv, .parquet).
          out: where the equation and the report go.
          data_dir: where the recordings of a named data set are.
          labels: classes of labels, such as NORM=N,MI=O, where N is normal; or a table
            with the columns recording,label; or both, with a comma between.
          normal_class: which logit of an ONNX model stands for "normal".
          output: the name of the value to take of an ONNX model, such as its logits;
            default: what it gives.
          beats: how beats are cut; default: as the model card says.
          tree: how the equation is grown.
          cover: how the components of the first level are chosen.
          resume: go on with an interrupted one.
          quiet: print nothing but errors.
        """
        with Display(quiet=quiet) as shown:
            factor_model(
                model,
                data,
                data_dir,
                out,
                normal_class,
                beats,
                tree,
                shown.say,
                output=output,
                cover=cover,
                labels=labels,
                resume=resume,
                begin=shown.begin,
            )

    return _parsed(main, "factor", args)


def distill(args: list[str]) -> Call:
    """Train a network of templates to answer as an existing model does."""
    import tyro

    from ecg_jax.runs.distill import DistillConfig, distill_model
    from ecg_jax.runs.foreign import beats_of_first

    usual = DistillConfig(beats=beats_of_first(args))

    def main(
        model: tyro.conf.Positional[Path],
        config: Annotated[DistillConfig, tyro.conf.arg(name="")] = usual,
        out: Path = Path("distilled"),
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """Train a network of templates on a model's answers, factor it, report.

        Args:
          model: the teacher: a saved or released network, a run folder, or a file
            model.onnx.
          config: everything else that decides the result.
          out: the run folder.
          resume: go on with an interrupted one.
          quiet: print nothing but errors.
        """
        with Display(quiet=quiet) as shown:
            distill_model(
                model, config, out, shown.say, resume=resume, begin=shown.begin
            )

    return _parsed(main, "distill", args)


def evaluate(args: list[str]) -> Call:
    """Evaluate a run on other recordings."""
    import tyro

    def main(
        run: tyro.conf.Positional[Path],
        data: str,
        data_dir: Path | None = None,
        labels: str = "",
        out: Path | None = None,
    ) -> None:
        """Measure a saved run on other recordings; prints one JSON object.

        Args:
          run: the run folder.
          data: "synthetic", "challenge-2017", "mitdb", "ptb-xl", a folder in WFDB
            layout, or a file of beats (.npz, .csv, .parquet).
          data_dir: where the recordings of a named data set are.
          labels: as for factor; without classes, those of the run hold.
          out: a file for the JSON object, beside printing it.
        """
        import json

        from ecg_jax.runs.saved_run import evaluate_run
        from ecg_jax.storage.files import plain, write_json

        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        # nothing but the object on stdout
        with Display(sys.stderr), redirect_stdout(sys.stderr):
            metrics = evaluate_run(run, data, data_dir, labels)
        if seen := metrics["data"]["seen_in_training"]:
            print(
                f"ecg-jax evaluate: the run was trained on {seen} of these recordings; "
                "its figures are too good for them",
                file=sys.stderr,
            )
        if out is not None:
            write_json(out, metrics)
        print(json.dumps(plain(metrics), indent=2))

    return _parsed(main, "evaluate", args)


def explain(args: list[str]) -> Call:
    """Explain one recording."""
    import tyro

    def main(run: tyro.conf.Positional[Path], record: Path, out: Path) -> None:
        """Write explanation.html and explanation.json for one recording.

        Args:
          run: the run folder.
          record: path of the recording, with or without suffix; for a synthetic run
            the name of one of its recordings, such as S00007.
          out: where the explanation goes.
        """
        from ecg_jax.percent import percent
        from ecg_jax.runs.explain import explain as explain_record

        with Display(sys.stderr):
            answer = explain_record(run, record, out)
        normal, total = answer["num_normal"], answer["num_beats"]
        print(
            f"{answer['record']}: {normal:,} beats normal, {total - normal:,} not "
            f"normal; by their mean margin {answer['margin']:.2f} {answer['answer']}; "
            f"{percent(answer['share_proven'])} proven; see {out / 'explanation.html'}"
        )
        if missed := len(answer["missed"]):
            print(
                f"annotated, but not found or at an end, so without answer: {missed:,}"
            )

    return _parsed(main, "explain", args)


def compare(args: list[str]) -> Call:
    """Compare two runs."""
    import tyro

    def main(
        first: tyro.conf.Positional[Path],
        second: tyro.conf.Positional[Path],
        out: Path = Path("comparison"),
    ) -> None:
        """Write comparison.html and comparison.json: two runs, beat by beat.

        Args:
          first: a run folder.
          second: another one, of the same recordings.
          out: where the comparison goes.
        """
        from ecg_jax.runs.compare import PAGE, in_words
        from ecg_jax.runs.compare import compare as compare_runs

        with Display(sys.stderr):
            found = compare_runs(first, second, out)
        print(in_words(found))
        print(f"see {out / PAGE}")

    return _parsed(main, "compare", args)


def sweep(args: list[str]) -> Call:
    """Compute the cells of a sweep, or show their results."""
    import tyro

    def main(
        config: tyro.conf.Positional[Path],
        out: Path | None = None,
        data_dir: Path | None = None,
        driver: Literal["loop", "ray", "submitit"] = "loop",
        workers: int = 2,
        address: str | None = None,
        show: bool = False,
        quiet: bool = False,
    ) -> None:
        """Train and measure a network for each cell of a grid, or by a search.

        What is done stays: the same command goes on where an interrupted one stopped,
        and tries cells that failed again.

        Args:
          config: a .toml or .json file; see experiments/sweeps.
          out: the folder of the results; default: the name of the file.
          data_dir: where the recordings of a named data set are.
          driver: what computes: a loop here, Ray, or jobs by submitit (on Slurm, or
            without it in processes here).
          workers: cells at once, but for the loop.
          address: of a Ray cluster; default: one is started here.
          show: print the results there are and draw results.svg, computing nothing.
          quiet: print nothing but errors.
        """
        from ecg_jax.sweeps.config import read_config
        from ecg_jax.sweeps.drivers import driver_of
        from ecg_jax.sweeps.sweep import raise_if_failed, sweep

        what, folder = read_config(config, data_dir), out or Path(config.stem)
        if show:
            from ecg_jax.draw import save
            from ecg_jax.sweeps.show import as_text, counted, figure, results

            print(as_text(results(what, folder)))
            print(counted(what, folder))
            print(save(figure(what, folder), folder / "results.svg"))
            return
        with Display(quiet=quiet) as shown:
            by = driver_of(driver, folder, what.submitit, workers, address)
            swept = sweep(what, folder, by, say=shown.say, begin=shown.begin)
        raise_if_failed(swept)

    return _parsed(main, "sweep", args)


def fetch(args: list[str]) -> Call:
    """Download a data set."""
    import tyro

    def main(
        name: tyro.conf.Positional[Literal["challenge-2017", "mitdb", "ptb-xl"]],
        out: Path,
        url: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Download recordings from PhysioNet: resumable, checked, safely unpacked.

        Args:
          name: the data set.
          out: where to.
          url: another address of the archive.
          sha256: the digest that the archive must have.
        """
        from ecg_jax.ecg.fetch import fetch as fetch_archive

        with Display(sys.stderr) as shown:
            tell = shown.begin(f"fetch: {name}")
            there = fetch_archive(
                name,
                out,
                url=url,
                sha256=sha256,
                progress=lambda done, total: tell(done, total or 0),
            )
        print(there)

    return _parsed(main, "fetch", args)


def cite(args: list[str]) -> Call:
    """Print whom to cite."""
    del args
    from ecg_jax.pages.names import CITATIONS

    lines = [f"{words} {identifier}" for words, identifier, _ in CITATIONS]
    return functools.partial(print, *lines, sep="\n")


COMMANDS: dict[str, Callable[[list[str]], Call]] = {
    "run": run,
    "factor": factor,
    "distill": distill,
    "evaluate": evaluate,
    "explain": explain,
    "compare": compare,
    "sweep": sweep,
    "fetch": fetch,
    "cite": cite,
}


def main(argv: list[str] | None = None) -> None:
    """Entry point of `ecg-jax`; an expected error is one message and status 2.

    Where nobody reads on, as after `| head`, it ends without a word, status 141.
    """
    try:
        try:
            _command(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        with open(os.devnull, "w") as nobody:  # Python flushes again when it ends
            os.dup2(nobody.fileno(), sys.stdout.fileno())
        sys.exit(141)


def _command(argv: list[str] | None) -> None:
    args = sys.argv[1:] if argv is None else argv
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"ecg_jax {version('ecg_jax')}")
        return
    command = COMMANDS.get(args[0])
    if command is None:
        _fail(f"ecg-jax: no command {args[0]!r}\n  try: one of {', '.join(COMMANDS)}")
    from ecg_jax.errors import EcgJaxError
    from ecg_jax.storage.cache import keep_compiled

    keep_compiled()
    hidden = bool({"--quiet", "--help", "-h"} & set(args))
    try:
        with Display(sys.stderr, quiet=hidden):  # while modules are imported
            call = command(args[1:])
        call()
    except EcgJaxError as error:
        _fail(f"ecg-jax {args[0]}: {type(error).__name__}: {error}")
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(f"ecg-jax {args[0]}: {_reason(error)}")
    except KeyboardInterrupt:
        resume = "; --resume goes on" if args[0] in ("run", "factor", "distill") else ""
        resume = "; the same command goes on" if args[0] == "sweep" else resume
        _fail(f"\necg-jax {args[0]}: interrupted{resume}", 130)


def _fail(message: str, status: int = 2) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)


def _reason(error: OSError) -> str:
    """An error of the system in one line, with what to try."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"DiskFullError: {where}no space is left: free some, then --resume"
    return f"{type(error).__name__}: {where}{error.strerror or error}"


def _value(args: list[str], option: str) -> str | None:
    """The value of an option, before the others are known; None where it has none."""
    for word, following in zip(args, [*args[1:], None], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None


def _parsed(function: Callable[..., Any], command: str, args: list[str]) -> Call:
    """A command with its options, to be called; a wrong option is one line."""
    import tyro

    @functools.wraps(function)
    def parsed(*values: Any, **options: Any) -> Any:
        return functools.partial(function, *values, **options)

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(parsed, prog=f"ecg-jax {command}", args=args)
    except SystemExit as stop:
        if stop.code in (None, 0):
            raise
        why = _line(said.getvalue())
        message = f"ecg-jax {command}: {why}\n  try: ecg-jax {command} --help"
        return functools.partial(_fail, message)


def _line(box: str) -> str:
    """The words of a message that tyro draws a box around, without its help texts."""
    rows = [row.strip("\u2502 ") for row in box.splitlines()]
    inner = [row for row in rows if not row.startswith(("\u256d", "\u2570"))]
    rules = [set(row) <= {"-", "\u2500"} for row in inner]
    lines = ["\n" if rule else row for row, rule in zip(inner, rules, strict=True)]
    parts = " ".join(lines).split("\n")
    if len(inner) == len(rows):  # no corners: the title is a part of its own
        del parts[0]
    words = [part.strip() for part in parts if "helptext" not in part]
    return "; ".join(word for word in words if word)
