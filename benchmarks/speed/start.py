"""How soon one can begin: imports, and a kernel from the cache, each in fresh interpreters that take turns."""

import tempfile

from benchmarks.report import met, span, table
from benchmarks.speed.fresh import printed
from benchmarks.speed.timing import medians

TITLE = "Start"

ROUNDS = 9
IMPORT_LIMIT = 1.15
LIMIT = 0.25
"""A warm start's kernel, times `import numba`."""

TIMED = """
{before}
import time
began = time.perf_counter()
{timed}
print(time.perf_counter() - began)
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

SIDES = {
    "import torch": TIMED.format(before="", timed="import torch"),
    "import steepest": TIMED.format(before="", timed="import steepest"),
    "import numba": TIMED.format(before="import torch", timed="import numba"),
    "kernel": TIMED.format(before=NETWORK, timed=FIRST_STEP),
}


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as cache:
        cold = printed(SIDES["kernel"], STEEPEST_CACHE=cache)
        sides = {name: lambda code=code: printed(code, STEEPEST_CACHE=cache) for name, code in SIDES.items()}
        for side in sides.values():
            side()
        found = medians(sides, ROUNDS)
    torch, own, numba, kernel = (found[name] for name in SIDES)
    rows = [
        ["`import steepest`, torch's import in it", span(own), "`import torch`", span(torch), f"{own / torch:.2f}"],
        ["update built and one step done, warm", span(kernel), "`import numba`", span(numba), f"{kernel / numba:.3f}"],
        ["the same the first time ever, kernels compiled", span(cold), "", "", ""],
    ]
    targets = [
        [f"≤ {IMPORT_LIMIT} ×", met(own / torch, IMPORT_LIMIT)],
        [f"≤ {LIMIT} ×", met(kernel / numba, LIMIT)],
        ["", ""],
    ]
    how = (
        f"Fresh interpreters, median of {ROUNDS}. The step is AdamW's on the digits' network, after `import steepest`; "
        "warm means that the kernels' object code is in the cache. numba is imported after torch."
    )
    header = ("what", "time", "beside", "its time", "ratio", "target", "met")
    return [how, "", *table(header, [a + b for a, b in zip(rows, targets, strict=True)])]
