"""How long `ecg-jax --help` and `import ecg_jax` take, in a fresh process each.

    python experiments/benchmarks/start.py [REPEATS]

Prints one JSON object: the median of the wall times, in seconds.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path


def seconds(command, repeats):
    """Median wall time, after one run that warms the disk cache."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken[1:]), 3)


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    program = Path(sys.executable).with_name("ecg-jax")
    factor = "import ecg_jax; ecg_jax.factor"
    result = {
        "help_s": seconds([program, "--help"], repeats),
        "run_help_s": seconds([program, "run", "--help"], repeats),
        "import_s": seconds([sys.executable, "-c", "import ecg_jax"], repeats),
        "import_factor_s": seconds([sys.executable, "-c", factor], repeats),
        "repeats": repeats,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
