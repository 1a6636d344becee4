"""Modelyard: builds asked of one open yard, each on data that have changed since the last."""

import os
from pathlib import Path

import clock
from rows import change

from modelyard.yard import Yard

WORK = Path(os.environ["BENCH_WORK"])


def main() -> None:
    yard = Yard(WORK / "home").open()
    try:

        def run() -> None:
            change(WORK / "model" / "rows.csv")
            ended = yard.wait(yard.build(str(WORK / "model" / "config.yaml"), "bench")["run"])
            assert ended["status"] == "done", ended

        clock.go(run)
    finally:
        yard.close()


if __name__ == "__main__":
    main()
