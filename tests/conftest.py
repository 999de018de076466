"""One thread a process where tests run in several: threads of two processes on the same cores wait on each other."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch reads it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
