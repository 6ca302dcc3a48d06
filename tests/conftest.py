"""No test reaches a network, and all run on one thread; both are read when the libraries are imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
# With models this small two threads wait for each other more than they work, and far longer on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
