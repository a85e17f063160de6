"""Calls of functions on a Ray cluster: many runs on many machines.

    results = cluster.run(function, task, [(a, b), …])        # function(task, a, b, report) for each, on the nodes

Ray sends a call to a node with free processors, or a free GPU, and sends it again, to another node, where a node is
lost. A call is a function of its arguments: it begins with a fresh copy of the task, with torch set as in this process,
and on as many threads. So where it ran, and how often it was begun, does not show in what it returns.

Ray is imported where it is used. Source: Moritz et al. 2018, https://arxiv.org/abs/1712.05889.
"""

import logging
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from steepest.distributed.parcel import pack, pack_call, pack_task, unpack
from steepest.errors import InputError, ProcessError, TaskError
from steepest.tasks.task import Task
from steepest.version import own_version

RETRIES = 5
"""Times that a call is begun again after the node or the process that ran it was lost."""
REPORT_S = 0.5
"""Seconds from one report of a call's progress to the next."""

Report = Callable[[int], None]
"""Called by a function on the cluster with the steps that it has taken since the last call."""


def cluster_of(on: str | None, device: str = "auto", live: bool = False) -> "Cluster | None":
    """The cluster that an argument `on` names; None for this process.

    Args:
        on: "ray" or None.
        device: "auto", "cpu" or "cuda", of every call; "auto" is CUDA where the cluster has a GPU.
        live: whether calls report their progress before they end.

    Raises:
        InputError: another name, no Ray, or a device that the cluster lacks.
    """
    if on is None:
        return None
    if on != "ray":
        raise InputError(f"on must be 'ray', or None for this process, got {on!r}. Leave it out to run here.")
    try:
        import ray
    except ImportError:
        raise InputError("ray is not installed. Install it: pip install 'steepest[ray]'") from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level=logging.ERROR)
    return Cluster(ray, device, live)


class Cluster:
    """The Ray cluster that this process is connected to.

    Attributes:
        device: of every call: "cpu" or "cuda".

    Args:
        ray: the module.
        device: "auto", "cpu" or "cuda".
        live: whether calls report their progress before they end.

    Raises:
        InputError: no node has such a device.
    """

    def __init__(self, ray: Any, device: str = "auto", live: bool = False) -> None:
        self._ray, self._live = ray, live
        self.device = _device(device, ray.cluster_resources().get("GPU", 0))
        threads = torch.get_num_threads()
        processors = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        resources: dict[str, Any] = {"num_cpus": max(1, min(threads, int(max(processors, default=threads))))}
        if self.device == "cuda":
            resources = {"num_cpus": 1, "num_gpus": 1}
        self._call = ray.remote(max_retries=RETRIES, scheduling_strategy="SPREAD", **resources)(_call)
        self._parcels: list[tuple[Task, Any]] = []

    def run(
        self,
        function: Callable[..., Any],
        task: Task,
        arguments: Sequence[tuple],
        on_steps: Callable[[int], None] = lambda steps: None,
        on_result: Callable[[int, Any], None] = lambda place, result: None,
    ) -> list[Any]:
        """Calls `function(task, *arguments[i], report)` for each i, on the cluster.

        Where this is left by an exception, such as Ctrl-C, all calls are cancelled.

        Args:
            function: of a module that the nodes can import.
            task: the first argument.
            arguments: the others of each call.
            on_steps: called with the steps that calls have taken since the last time; negative after a loss.
            on_result: called with a call's place and result as soon as it ends.

        Returns:
            The results, in the order of the arguments.

        Raises:
            SteepestError: the task or an argument cannot be sent, or was not understood on a node.
            ProcessError: a call ended its process again and again.
            Exception: of the function.
        """
        parcel, here = self._parcel(task), _Here.read()
        calls = [pack_call(function, own) for own in arguments]
        board = self._board() if self._live else None
        progress = _Progress(self._ray, board, on_steps)
        refs = {self._call.remote(parcel, call, here, board, i): i for i, call in enumerate(calls)}
        results: dict[int, Any] = {}
        try:
            while refs:
                ends, _ = self._ray.wait(list(refs), timeout=REPORT_S)
                for ref in ends:
                    i = refs.pop(ref)
                    steps, results[i] = self._result(ref)
                    progress.set(i, steps)
                    on_result(i, results[i])
                progress.read()
        finally:
            self._end([*refs], board)
        return [results[i] for i in range(len(calls))]

    def _end(self, refs: Sequence[Any], board: Any) -> None:
        """Cancels what still runs: its processes end at once, whatever they do."""
        for ref in refs:
            with suppress(Exception):  # it has just ended, or its node has
                self._ray.cancel(ref, force=True)
        if board is not None:
            self._ray.kill(board)

    def _parcel(self, task: Task) -> Any:
        """The task in Ray's object store; once for all calls."""
        for own, parcel in self._parcels:
            if own is task:
                return parcel
        parcel = self._ray.put(pack_task(task))
        self._parcels.append((task, parcel))
        return parcel

    def _board(self) -> Any:
        """Where calls write how far they are: an actor beside this process."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        class Board:  # here, so that it is sent as code and its process does not import torch
            def __init__(self) -> None:
                self.steps: dict[int, int] = {}

            def write(self, place: int, steps: int) -> None:
                self.steps[place] = steps

            def read(self) -> dict[int, int]:
                return self.steps

        own_node = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=True)
        return self._ray.remote(num_cpus=0, scheduling_strategy=own_node)(Board).remote()

    def _result(self, ref: Any) -> tuple[int, Any]:
        """(steps, result) of a call.

        Raises:
            ProcessError: its process was lost again and again, or Ray could not run it.
            Exception: of the function.
        """
        try:
            answer = unpack(self._ray.get(ref))
        except self._ray.exceptions.RayTaskError as error:
            why = str(error).strip().rpartition("\n")[2]
            raise ProcessError(
                f"A node of the cluster must be able to import steepest {own_version()}, got {why}. Install the "
                "same packages on all nodes."
            ) from error
        except self._ray.exceptions.RayError as error:
            why = f"{type(error).__name__}: " + str(error).strip().partition("\n")[0]
            raise ProcessError(
                f"Ray must be able to run every call, got {why} It had {RETRIES + 1} tries. A model that ends its "
                "process does so each time: run it here, without on='ray', to see why."
            ) from error
        if isinstance(answer, _Failure):
            raise answer.as_error()
        return answer


class _Progress:
    """The steps of all calls, of which each may be told several times, and may begin again."""

    def __init__(self, ray: Any, board: Any, on_steps: Callable[[int], None]) -> None:
        self._ray, self._board, self._on_steps = ray, board, on_steps
        self._steps: dict[int, int] = {}
        self._ends: set[int] = set()
        self._question: Any = None
        self._question_time = time.monotonic()

    def set(self, place: int, steps: int) -> None:
        """Takes the steps of a call that has ended."""
        self._ends.add(place)
        self._tell(place, steps)

    def _tell(self, place: int, steps: int) -> None:
        change = steps - self._steps.get(place, 0)
        self._steps[place] = steps
        if change:
            self._on_steps(change)

    def read(self) -> None:
        """Reads the board where its answer has come, and asks again."""
        if self._board is None:
            return
        if self._question is not None and self._ray.wait([self._question], timeout=0)[0]:
            question, self._question = self._question, None
            with suppress(self._ray.exceptions.RayError):  # the board is lost: calls are counted when they end
                for place, steps in self._ray.get(question).items():
                    if place not in self._ends:
                        self._tell(place, steps)
        if self._question is None and time.monotonic() - self._question_time >= REPORT_S:
            self._question, self._question_time = self._board.read.remote(), time.monotonic()


def _device(name: str, gpus: float) -> str:
    """The device of every call.

    Raises:
        InputError: no node has one.
    """
    if name == "auto":
        return "cuda" if gpus else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"device must be 'auto', 'cpu' or 'cuda' on Ray, which chooses the GPU, got {name!r}")
    if name == "cuda" and not gpus:
        raise InputError("device must be one of the cluster's, got 'cuda', and no node has a GPU. Pass device='cpu'.")
    return name


# -- On a node ---------------------------------------------------------------------------------------------------------


class _Here(NamedTuple):
    """What a call takes over from the process that sends it: what its numbers depend on."""

    versions: dict[str, str]
    threads: int
    dtype: torch.dtype
    matmul_precision: str
    deterministic: tuple[bool, bool]

    @classmethod
    def read(cls) -> "_Here":
        """Those of this process."""
        own = {"steepest": own_version(), "torch": torch.__version__.partition("+")[0]}  # without torch's "+cu130"
        deterministic = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        precision = torch.get_float32_matmul_precision()
        return cls(own, torch.get_num_threads(), torch.get_default_dtype(), precision, deterministic)

    def adopt(self) -> None:
        """Sets this process so.

        Raises:
            InputError: it has other versions.
        """
        own = self.read().versions
        if own != self.versions:
            theirs, ours = (", ".join(f"{n} {v}" for n, v in by.items()) for by in (own, self.versions))
            raise InputError(
                f"All nodes must have {ours}, as this process has, got {theirs} on {platform.node()}. Install the same "
                "packages on all nodes."
            )
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.use_deterministic_algorithms(self.deterministic[0], warn_only=self.deterministic[1])


def _call(task: bytes, call: bytes, here: _Here, board: Any, place: int) -> bytes:
    """Makes a call on a node: what `Cluster.run` sends. Returns (steps, result), or a _Failure."""
    counter = _Counter(board, place)
    try:
        here.adopt()
        try:
            function, arguments = unpack(call)
            own = unpack(task)
        except (ImportError, AttributeError) as error:
            raise TaskError(
                f"Task and settings must be something that the nodes can import, got {type(error).__name__}: {error}. "
                "Send your modules to them: call ray.init(runtime_env={'working_dir': '.'}) before."
            ) from error
        result = function(own, *arguments, counter)
        return pack((counter.steps, result))
    except Exception as error:  # the user's code runs in it
        return pack(_Failure.of(error))


class _Counter:
    """Counts the steps of a call, and writes them on the board now and then."""

    def __init__(self, board: Any, place: int) -> None:
        self._board, self._place, self.steps = board, place, 0
        self._write_time = time.monotonic()

    def __call__(self, steps: int) -> None:
        self.steps += steps
        if self._board is not None and time.monotonic() - self._write_time >= REPORT_S:
            self._write_time = time.monotonic()
            self._board.write.remote(self._place, self.steps)


class _Failure(NamedTuple):
    """An exception of a call.

    Attributes:
        error: it, where it can be pickled.
        words: its kind and message.
        trace: where on the node it was raised.
    """

    error: Exception | None
    words: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> "_Failure":
        """An exception that has just been raised."""
        words, trace = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        try:
            unpack(pack(error))
        except Exception:  # pickling runs the user's code
            return cls(None, words, trace)
        return cls(error, words, trace)

    def as_error(self) -> Exception:
        """The exception, which says where on the node it was raised."""
        error = self.error or ProcessError(f"A call on the cluster failed: {self.words}")
        error.add_note(f"On a node of the cluster:\n{self.trace}")
        return error
