"""Text in and out where the locale is not UTF-8: a cron job, a container with LC_ALL=C, Windows with a code page."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import steepest
from steepest.view.plain_text import nearest_ascii
from steepest.view.terminal import Line

POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOCALES = {"posix": POSIX, "cp1252": {"PYTHONIOENCODING": "cp1252"}, "gbk": {"PYTHONIOENCODING": "gbk"}}

TRAIN = """
import warnings
warnings.filterwarnings("error", category=EncodingWarning, module="steepest")
import sys, torch, steepest as sd
from steepest.cli import app
x = torch.randn(40, 3)
task = sd.Task(torch.nn.Linear(3, 1), (x, x[:, :1]), torch.nn.functional.mse_loss)
run = sd.fit(task, "adam", 1e-2, batch_size=8, epochs=2, runs=sys.argv[1], name="α-run", notes="λ → 0")
run.film(sys.argv[1] + "/film.html")
for command in (["runs", "--runs", sys.argv[1]], ["show", run.id, "--runs", sys.argv[1]], ["rules", "adam"]):
    try:
        app(command)
    except SystemExit as end:
        assert not end.code, command
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "locale", ["posix", *(pytest.param(name, marks=pytest.mark.long) for name in LOCALES if name != "posix")]
)
def test_training_a_film_and_tables_in_any_locale(locale, tmp_path):
    settings = {**os.environ, **LOCALES[locale], "PYTHONWARNDEFAULTENCODING": "1", "OMP_NUM_THREADS": "1"}
    script = tmp_path / "train.py"
    script.write_text(TRAIN, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=settings, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    encoding = LOCALES[locale].get("PYTHONIOENCODING", "utf-8")  # which has all of ASCII
    shown, said = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert "default lr" in shown
    assert "step 10/10" in said
    assert "\\u" not in shown + said
    assert "charset" in (tmp_path / "film.html").read_text(encoding="utf-8")[:200]


def test_no_file_is_read_or_written_in_the_locales_encoding():
    """What `open` and `read_text` do without an encoding differs from machine to machine."""
    package = Path(steepest.__file__).parent
    for path in package.rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for call in ("read_text(", "write_text(", "= open(", "with open("):
                is_binary = '"rb"' in line or '"wb"' in line
                assert call not in line or "encoding=" in line or is_binary, f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "utf-8"])
def test_progress_is_written_in_any_encoding(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    line = Line(stream, lambda: 0.0)
    line.say("train loss 1.2 ▁▄█ · λ ≤ 3 → ok")
    stream.seek(0)
    words = stream.read()
    assert words.startswith("train loss 1.2 ")
    assert words.endswith("ok\n")
    assert ("▁▄█" in words) == (encoding in ("utf-8", "gbk"))


def test_nearest_ascii():
    assert nearest_ascii("Müller ½ ﬁ ① x²") == "Muller 1/2 fi 1 x2"
    assert nearest_ascii("w ← w − α∇L") == "w <- w - alphagrad L"
    assert nearest_ascii("损失") == "??"
