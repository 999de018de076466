"""Short reference implementations of what the labs teach, one technique a file.

A lab shows them with `labkit.show`, so what is read is what is tested and run.
"""

import logging

# torchao 0.18 registers enumerations in a way that torch 2.15 calls deprecated, at
# every import.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
# And the compiler says before its first graph that there is no CUDA, where none is
# needed.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
