"""Many descents of the demo's network at once, against one descent after another."""

from benchmarks.gpu.place import Place
from benchmarks.report import table
from steepest.descent.loop import Descent
from steepest.descent.population.population import Plan, Population
from steepest.descent.settings import resolve
from steepest.tasks import load

WARM_UP = 8


def lines(place: Place) -> list[str]:
    """Lines of the report."""
    task, count = load("digits"), place.members
    rates = [1e-4 * 10 ** (2 * k / max(1, count - 1)) for k in range(count)]
    settings = [
        resolve(task, rule="adam", lr=lr, batch_size=64, steps=100_000, device=str(place.device)) for lr in rates
    ]
    population = Population(task, settings, Plan())
    one = Descent(task, settings[0], task.copy(0))
    one.model.train()
    for _ in range(WARM_UP):
        population.step()
        one.step()
    population._trace()
    times = place.medians({"together": population.step, "one": one.step}, place.rounds, 5)
    per_second = count / times["together"], 1 / times["one"]
    rows = [
        [f"{count:,} members together", f"{per_second[0]:,.0f}", f"{per_second[0] / per_second[1]:.1f}"],
        ["a loop of single descents", f"{per_second[1]:,.0f}", "1.0"],
    ]
    return [
        f"64-128-128-10, batches of 64, {count:,} learning rates of Adam; members that share a batch.",
        "",
        *table(["descents", "members' steps a second", "÷ the loop"], rows),
    ]
