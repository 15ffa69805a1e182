"""The long form: `python -m tests.chaos [FIGURE ...]`; without one, all of them. One line for each thing measured."""

import argparse
import logging
import sys
import time

from tests.chaos.figures import FIGURES, load


def main() -> int:
    """Measure and print; the exit status is 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"one of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--short", action="store_true", help="the sizes of the test suite")
    options = parser.parse_args()
    if unknown := sorted(set(options.figures) - set(FIGURES)):
        parser.error(f"no figure {', '.join(unknown)}: expected {', '.join(FIGURES)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers are away is meant
    met = True
    for name in options.figures or FIGURES:
        module = load(name)
        start = time.monotonic()
        found = module.measure(module.SHORT if options.short else module.LONG)
        for measured in found:
            print(measured, flush=True)
        print(f"        {name} took {time.monotonic() - start:.0f} s", flush=True)
        met = met and all(measured.met for measured in found)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
