"""The command line: one clear line for whatever goes wrong, and no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest
from run_files import command, copy_of_run, tiny


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["nonsense"],
            "ecg-jax: no command 'nonsense'\n"
            "  try: one of run, factor, distill, evaluate, explain, compare, sweep, "
            "fetch, cite\n",
        ),
        (
            ["run", "--nonsense"],
            "ecg-jax run: Unrecognized options: --nonsense\n"
            "  try: ecg-jax run --help\n",
        ),
        (
            ["run", "--network.kind", "transformer"],
            "ecg-jax run: invalid choice 'transformer' for argument '--network.kind'. "
            "Expected one of ('mlp', 'authors', 'resnet', 'templates').\n"
            "  try: ecg-jax run --help\n",
        ),
        (
            ["run", "--tree.depth", "deep"],
            "ecg-jax run: Error parsing --tree.depth: invalid literal for int() with "
            "base 10: 'deep'\n  try: ecg-jax run --help\n",
        ),
        *(
            (
                [command, *more, f"--tree.{name}", value],
                f"ecg-jax {command}: Error parsing {part}: "
                f"{name.replace('-', '_')} is {value}. try: a whole number from 1 on\n"
                f"  try: ecg-jax {command} --help\n",
            )
            for command, more, part in (
                ("run", (), "config.tree"),
                ("factor", ("/nowhere", "--data", "x", "--out", "/nowhere"), "tree"),
            )
            for name, value in (("depth", "0"), ("budget", "0"), ("min-count", "-5"))
        ),
        *(
            (
                ["run", "--out", "/nowhere/run", f"--{part}.{name}", value],
                f"ecg-jax run: Error parsing config.{part}: {wrong}\n"
                "  try: ecg-jax run --help\n",
            )
            for part, name, value, wrong in (
                (
                    "training",
                    "num-epochs",
                    "-3",
                    "no network can be trained so: num_epochs: -3 is no whole number "
                    "from 1 up",
                ),
                (
                    "training",
                    "learning-rate",
                    "nan",
                    "no network can be trained so: learning_rate: nan is not finite, "
                    "0 or more",
                ),
                (
                    "beats",
                    "low-bsqi",
                    "1.5",
                    "BeatConfig: low_bsqi=1.5 is not from 0 to 1. try: 0.9",
                ),
                (
                    "cover",
                    "seed",
                    "-1",
                    "CoverConfig: seed=-1 is not 0 or more",
                ),
            )
        ),
        (
            ["run", "--data", "/nowhere"],
            "ecg-jax run: MissingFileError: /nowhere is not a folder.\n"
            "  try: one of synthetic, challenge-2017, mitdb, ptb-xl, the folder that "
            "holds RECORDS, or a file of beats (.npz, .csv, .parquet)\n",
        ),
        (
            ["evaluate", "/nowhere", "--data", "synthetic"],
            "ecg-jax evaluate: RunError: /nowhere holds no finished run: config.json "
            "is missing.\n  try: ecg-jax run --out DIR, with --resume if it was "
            "interrupted\n",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words, message):
    status, out, err = command(*words)
    assert (status, out, err) == (2, "", message)


def test_a_model_that_is_not_there():
    words = ("factor", "/nowhere", "--data", "synthetic", "--out", "/nowhere/out")
    status, out, err = command(*words)
    assert (status, out) == (2, "") and err.startswith(
        "ecg-jax factor: ModelError: /nowhere is no path, and no network of this name "
    )


def test_missing_options_are_named():
    status, out, err = command("evaluate")
    assert (status, out) == (2, "")
    assert err.startswith("ecg-jax evaluate: ") and "--data" in err
    assert err.endswith("\n  try: ecg-jax evaluate --help\n")


def test_help_and_version():
    assert command()[:2] == command("--help")[:2]
    status, out, _ = command("--version")
    assert status == 0 and out.startswith("ecg_jax ")
    status, out, _ = command("run", "--help")
    assert status == 0 and "--tree.depth" in out
    assert "arXiv:2006.15189" in command("cite")[1]


def test_help_is_quick():
    start = time.process_time()
    code = (
        "import sys; from ecg_jax.cli import main; main(['--help']); "
        "heavy = {'jax', 'numpy', 'tyro', 'scipy'} & set(sys.modules); assert not heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_nobody_reads_on(words):
    code = f"from ecg_jax.cli import main; main({words})"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=closed, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_errors_of_the_system_are_lines(monkeypatch, tmp_path):
    import ecg_jax.runs.pipeline as pipeline

    def fails(*args, **options):
        raise PermissionError(13, "Permission denied", "/somewhere/file")

    monkeypatch.setattr(pipeline, "run", fails)
    status, _, err = command("run", "--out", tmp_path / "run")
    assert (status, err) == (
        2,
        "ecg-jax run: PermissionError: /somewhere/file: Permission denied\n",
    )

    def full(*args, **options):
        raise OSError(28, "No space left on device", "/somewhere/file")

    monkeypatch.setattr(pipeline, "run", full)
    status, _, err = command("run", "--out", tmp_path / "run")
    assert (status, err) == (
        2,
        "ecg-jax run: DiskFullError: /somewhere/file: no space is left: free some, "
        "then --resume\n",
    )


def test_interrupting(monkeypatch, tmp_path):
    import ecg_jax.runs.pipeline as pipeline

    def interrupted(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(pipeline, "run", interrupted)
    # a test run in the background of a shell inherits that SIGINT is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status, _, err = command("run", "--out", tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, err) == (130, "\necg-jax run: interrupted; --resume goes on\n")


def test_a_part_that_is_missing(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    (folder / "equation").rename(tmp_path / "elsewhere")
    words = ("evaluate", folder, "--data", tiny().data)
    assert command(*words)[2] == (
        f"ecg-jax evaluate: RunError: {folder} holds no finished run: equation is "
        "missing.\n  try: ecg-jax run --out DIR, with --resume if it was interrupted\n"
    )
