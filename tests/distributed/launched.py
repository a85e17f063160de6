"""What `accelerate launch` starts on two processes, with FOLDER; its Accelerator begins the process group."""

import json
import os
import sys
from pathlib import Path

from accelerate import Accelerator

import steepest as sd
from tests.distributed import tasks
from tests.distributed.program import result
from tests.distributed.tasks import tuned

if __name__ == "__main__":
    folder, accelerator = Path(sys.argv[1]), Accelerator(cpu=True)
    seen = {"count": accelerator.num_processes, "run": result(sd.fit(tasks.task(), **tuned(), runs=folder / "runs"))}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(seen))
    accelerator.end_training()
