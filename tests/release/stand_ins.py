"""Empty stand-ins for NVIDIA's libraries, so that a CUDA build of torch loads where only its CPU code is tried.

The builds of torch for Linux that come from a package index bring 3 to 5 GB of NVIDIA's libraries, and do not load
without them. A processor calls nothing of theirs, so a library of the same name with nothing in it is enough for it:
functions are looked up when they are first called. CUDA's small runtime, which torch calls while it loads, is the real
one.
"""

import re
import subprocess
from pathlib import Path

from tests.release.environments import Environment, FailureError

NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
NVIDIA = re.compile(r"lib(?:cu(?!da\.)|nv|nccl)\w*\.so")
REAL = ("libcudart", "libcupti", "libnvrtc")
"""What torch calls, or looks into, while it loads: these come from NVIDIA's packages."""
RUNTIME = {"12": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-cupti-cu12", "nvidia-cuda-nvrtc-cu12")}
RUNTIME["13"] = tuple(name.removesuffix("-cu12") for name in RUNTIME["12"])


def supply(place: Environment) -> list[str]:
    """Writes the stand-ins into torch's own folder, where it looks first.

    Returns:
        Their names; none for a CPU build.

    Raises:
        FailureError: torch does not load all the same.
    """
    folder = Path(place.python("import sysconfig; print(sysconfig.get_path('purelib'))")) / "torch" / "lib"
    names = sorted({name for path in folder.glob("*.so*") for name in _needs(path) if NVIDIA.match(name)})
    if not names:
        return []
    (major,) = {name.rpartition(".")[2] for name in names if name.startswith("libcudart")}
    place.install(*RUNTIME[major], options=["--no-deps"])
    real = {path.name: path for path in (folder.parents[1] / "nvidia").rglob("lib*.so.*")}
    for name in names:
        if name in real:
            (folder / name).symlink_to(real[name])
        elif name.startswith(REAL):
            raise FailureError(f"{name} must be in {', '.join(RUNTIME[major])}, got {sorted(real)}")
        else:
            command = [
                "gcc",
                "-shared",
                "-nostdlib",
                "-x",
                "c",
                "/dev/null",
                f"-Wl,-soname,{name}",
                "-o",
                folder / name,
            ]
            subprocess.run(command, check=True)
    return [name for name in names if name not in real]


def _needs(path: Path) -> list[str]:
    done = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=False)
    return NEEDED.findall(done.stdout)
