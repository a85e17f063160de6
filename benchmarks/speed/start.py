"""Start-up times: imports, and a kernel from the cache, each in fresh interpreters that take turns."""

import tempfile

from benchmarks.report import check, span, table
from benchmarks.speed.fresh import run_fresh
from benchmarks.timing import medians

TITLE = "Start-up"

ROUNDS = 9
IMPORT_LIMIT = 1.15
KERNEL_LIMIT = 0.25
"""Of a kernel from the cache, times `import numba`."""

TIMER = """
{before}
import time
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
"""

NETWORK = """
import torch, steepest
from steepest.tasks.digits import images, network
net = network(0)
x, y = images()
torch.nn.functional.cross_entropy(net(x[:64]), y[:64]).backward()
"""

FIRST_STEP = """
from steepest.rules.textbook import adamw
from steepest.tasks.space import Space
from steepest.rules.update import Update
update = Update(Space(net), adamw)
update.norm()
update.advance(dict(adamw.hypers))
"""

CONTENDERS = {
    "import torch": TIMER.format(before="", code="import torch"),
    "import steepest": TIMER.format(before="", code="import steepest"),
    "import numba": TIMER.format(before="import torch", code="import numba"),
    "kernel": TIMER.format(before=NETWORK, code=FIRST_STEP),
}


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as cache:
        cold = run_fresh(CONTENDERS["kernel"], STEEPEST_CACHE=cache)
        contenders = {
            name: lambda code=code: run_fresh(code, STEEPEST_CACHE=cache) for name, code in CONTENDERS.items()
        }
        medians(contenders, 1)
        torch, own, numba, kernel = medians(contenders, ROUNDS).values()
    imports, first = own / torch, kernel / numba
    rows = [
        ["`import steepest`, including torch", span(own), "`import torch`", span(torch), f"{imports:.2f}",
         f"≤ {IMPORT_LIMIT} ×", check(imports, IMPORT_LIMIT)],
        ["update built and first step, kernels from the cache", span(kernel), "`import numba`", span(numba),
         f"{first:.3f}", f"≤ {KERNEL_LIMIT} ×", check(first, KERNEL_LIMIT)],
        ["the same without cache, kernels compiled", span(cold), "", "", "", "", ""],
    ]  # fmt: skip
    how = (
        f"Fresh interpreters, median of {ROUNDS}. The step is AdamW's on the digits' network, after `import steepest`. "
        "numba is imported after torch."
    )
    return [how, "", *table(("what", "time", "peer", "its time", "ratio", "target", "met"), rows)]
