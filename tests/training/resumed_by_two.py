"""Goes on from a checkpoint in each of several processes and writes what only its inside can tell; see test_resume.py."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from tests.training.test_trainer import trainer, watch

if __name__ == "__main__":
    checkpoint, given = sys.argv[1:]
    said: list[str] = []
    tell = logging.Handler()
    tell.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # a list is all it takes
    logging.getLogger("hf_lrsched.training.resume").addHandler(tell)
    made = trainer(Path("resumed"), "warmup_cosine", **json.loads(given))
    made.train(resume_from_checkpoint=checkpoint)
    told = {
        "world_size": made.args.world_size,
        "steps": made.state.global_step,
        "lrs": watch(made).lrs,
        "weights": {name: weight.tolist() for name, weight in made.model.state_dict().items()},
        "said": said,
    }
    Path(f"told-{made.args.process_index}.json").write_text(json.dumps(told))
    made.accelerator.wait_for_everyone()
    os._exit(0)  # torch's gloo threads now and then abort a process whose interpreter takes itself apart
