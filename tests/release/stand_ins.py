"""Stand-ins for NVIDIA's libraries, so that a CUDA build of torch loads where only its CPU code is tried.

The builds of torch for Linux that come from a package index bring 3 to 5 GB of NVIDIA's libraries, and do not load
without them. On a processor nothing of theirs is called, so a library of the same name is enough, whose functions end
the process. CUDA's small runtime, which torch calls while it loads, is the real one.
"""

import re
import subprocess
from pathlib import Path

from tests.release.environments import Environment, FailureError

NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
UNDEFINED = re.compile(r"^\s+[Uw] ((?:cu|nccl|nv)\w+)(?:@+(\S+))?", re.MULTILINE)
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
    missing = [name for name in names if name not in real]
    needs = {pair for path in folder.glob("libtorch*.so") for pair in UNDEFINED.findall(_output("nm", "-D", path))}
    there = {n.partition("@")[0] for path in real.values() for n in _output("nm", "-D", "--defined-only", path).split()}
    symbols = {symbol: version for symbol, version in sorted(needs) if symbol not in there}
    source = "\n".join(f"void {symbol}(void) {{ __builtin_trap(); }}" for symbol in symbols)
    versions = place.folder / "versions.map"
    versions.write_text("\n".join(_node(version, symbols) for version in sorted({*symbols.values()} - {""})))
    for name in missing:
        command = ["gcc", "-w", "-shared", "-x", "c", "-", f"-Wl,-soname,{name},--version-script,{versions}"]
        subprocess.run([*command, "-o", str(folder / name)], input=source, text=True, check=True)
    return missing


def _node(version: str, symbols: dict[str, str]) -> str:
    """A version of symbols, as the linker reads it: a symbol is found only in the version that torch asks for."""
    return f"{version} {{ {' '.join(f'{name};' for name, of in symbols.items() if of == version)} }};"


def _needs(path: Path) -> list[str]:
    return NEEDED.findall(_output("readelf", "-d", path))


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
