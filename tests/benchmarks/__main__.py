"""`python -m tests.benchmarks [NAME...]`: run benchmarks and print their tables."""

import argparse
import importlib
import logging
import os
import platform
import sys

from flows.environment import prepare_environment

BENCHMARKS = (
    "codecs",
    "clusters",
    "composition",
    "density",
    "extract",
    "ingest",
    "loader",
    "memory",
    "mosaic",
    "overhead",
    "populations",
    "preprocess",
    "refine",
    "scale",
    "segment",
    "segment_large",
    "server_memory",
    "soak",
    "train",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all if none"
    )
    parser.add_argument("--size", type=float, default=1.0, help="share of the full size of the data, up to 1")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}")
    prepare_environment()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in given.names or BENCHMARKS:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}\n")
        module.run(given.size)


if __name__ == "__main__":
    main()
