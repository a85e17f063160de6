"""Everything that CUDA changes, measured in one command of at most eight minutes: `python -m benchmarks gpu`.

The parts are independent: one that fails is named in the report with its reason, and the others go on. Each part's
lines are printed as soon as they are there. `--device cpu` runs the same lines on small sizes, to see that they run;
its figures say nothing about a GPU and are not written into the report.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.gpu import demo, faults, fit, members, update
from benchmarks.gpu.place import Place

TITLE = "On a GPU"

PARTS: dict[str, Callable[[Place], list[str]]] = {
    "A step of the demo": demo.lines,
    "`sd.fit`, against the CPU": fit.lines,
    "Many members": members.lines,
    "An AdamW update with clip, average and norms": update.lines,
    "Faults that the guard reads late": faults.lines,
}
LIMIT_S = 8 * 60
"""Seconds after which no further part begins."""


def measure() -> list[str]:
    """Lines of the report; ends in words where there is no CUDA device."""
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device: nothing was measured. `--device cpu` tries all lines on small sizes.")
    return _measure(Place.cuda())


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", nargs="*", type=int, default=range(1, len(PARTS) + 1), help="1 to 5; all by default")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        measure()
    place = Place.cuda() if options.device == "cuda" else Place.cpu()
    _measure(place, options.parts)


def _measure(place: Place, parts: Sequence[int] = range(1, len(PARTS) + 1)) -> list[str]:
    lines, start = [_machine(place)], time.perf_counter()
    for number, (title, part) in enumerate(PARTS.items(), 1):
        if number not in parts:
            continue
        began = time.perf_counter()
        is_late = began - start > LIMIT_S
        own = [f"Not measured: {LIMIT_S} s were over."] if is_late else _lines(part, place)
        seconds = time.perf_counter() - began
        own = ["", f"### {title}", "", *own, "", f"This part took {seconds:.0f} s."]
        print("\n".join(own), flush=True)
        lines += own
    return lines


def _lines(part: Callable[[Place], list[str]], place: Place) -> list[str]:
    """A part's lines, or why it failed."""
    try:
        return part(place)
    except Exception as error:  # the other parts are measured all the same
        if place.must_succeed:
            raise
        return [f"Failed: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"]


def _machine(place: Place) -> str:
    """The device, its driver and versions, in words."""
    if place.device.type == "cpu":
        return "On the CPU, small: these lines only show that the commands run."
    own = torch.cuda.get_device_properties(place.device)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = "unknown"
    return (
        f"{own.name}, {own.total_memory / 2**30:.0f} GiB, compute capability {own.major}.{own.minor}, driver {driver}, "
        f"CUDA {torch.version.cuda}, Triton {_triton()}."
    )


def _triton() -> str:
    try:
        import triton
    except ImportError:
        return "none"
    return triton.__version__
