"""Seconds that reading a folder of recordings takes, beside wfdb's own."""

import argparse
import json
import time
import warnings
from pathlib import Path

from ecg_jax.ecg.records import open_folder

REPEATS, FEW = 5, 500


def seconds(read, names):
    """The least CPU time of some rounds."""
    took = []
    for _ in range(REPEATS):
        start = time.process_time()
        for name in names:
            read(name)
        took.append(time.process_time() - start)
    return min(took)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = open_folder(parser.parse_args().folder)
    warnings.simplefilter("ignore")
    import wfdb

    few = folder.names[:FEW]
    stems = {name: str(folder.root / folder.paths[name]) for name in few}
    ours = seconds(folder.read, few)
    theirs = seconds(lambda name: wfdb.rdrecord(stems[name]), few)
    row = {
        "recordings": len(folder.names),
        "cpu_s": seconds(folder.read, folder.names),
        "over_wfdb": ours / theirs,
    }
    print(json.dumps({key: round(value, 3) for key, value in row.items()}))


if __name__ == "__main__":
    main()
