"""Every line of the benchmark for a GPU, small and on the CPU."""

import subprocess
import sys

import pytest
import torch

from benchmarks.gpu import gpu


@pytest.mark.slow
@pytest.mark.long
def test_all_parts_run_on_the_cpu(capsys):
    gpu.main(["--device", "cpu"])
    text = capsys.readouterr().out
    assert all(f"### {title}" in text for title in gpu.PARTS)
    assert "Failed" not in text
    assert "nan" not in text


@pytest.mark.slow
@pytest.mark.long
def test_the_command_says_that_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command = [sys.executable, "-m", "benchmarks", "gpu"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "There is no CUDA device: nothing was measured" in run.stderr


def test_a_part_that_fails_is_named_and_the_others_go_on(monkeypatch, capsys):
    def fail(place):
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(gpu, "PARTS", {"One": fail, "Two": lambda place: ["2"]})
    monkeypatch.setattr(gpu, "_machine", lambda place: "A GPU.")
    place = gpu.Place(torch.device("cpu"), False, 1, 1, 1, must_succeed=False)
    lines = gpu._measure(place, [1, 2])
    assert "Failed: RuntimeError: no kernel image is available" in lines
    assert lines.index("2") > lines.index("### Two")
