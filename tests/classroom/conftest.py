import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

from labkit.classroom import assign, grade

SMALL = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# init_cell: false
# check_all_cell: false
# export_cell: false
# tests:
#   ok_format: false

# %% [markdown]
# # Two functions

# %%
import math
"""
EXERCISE = '''
# %% [raw]
# # BEGIN QUESTION
# name: {name}
# points: 3

# %% [markdown]
# ## {name}

# %% [raw]
# # BEGIN SOLUTION

# %%
def {name}(x):
    """{name} of a number."""
    # BEGIN SOLUTION
    return {answer}  # the secret of {name}
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""# END TEST CONFIG
def test_three({name}):
    assert {name}(3) == {three}, "try it with 3 in your head"  # public

# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""# END TEST CONFIG
def test_a_larger_number({name}):
    assert {name}(1000) == {thousand}, "unseen"

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
'''


@pytest.fixture(scope="session")
def convert(pytestconfig) -> Callable[[Path], Path]:
    """From a folder with an assignment.py to the folder with what Otter makes of it, which takes long.

    It is made once, also for several processes and later runs, until the assignment, `assign` or Otter changes.
    """
    kept = pytestconfig.cache.mkdir("assignments")
    by = version("otter-grader").encode() + Path(assign.__file__).read_bytes()

    def converted(lab: Path) -> Path:
        key = hashlib.sha256(by + (lab / "assignment.py").read_bytes()).hexdigest()
        folder = kept / key / lab.name
        with FileLock(kept / f"{key}.lock"):
            if not folder.exists():
                unfinished = kept / f"{key}.unfinished"
                assign.make(lab, unfinished)
                folder.parent.mkdir(exist_ok=True)
                unfinished.rename(folder)
        return folder

    return converted


@pytest.fixture(scope="session")
def made(convert, tmp_path_factory) -> Path:
    """A folder of assignments with one small one in it, made by Otter."""
    lab = tmp_path_factory.mktemp("labs") / "01_small"
    lab.mkdir()
    twice = EXERCISE.format(name="twice", answer="2 * x", three=6, thousand=2000)
    square = EXERCISE.format(name="square", answer="x * x", three=9, thousand=1_000_000)
    (lab / "assignment.py").write_text(SMALL + twice + square)
    return convert(lab).parent


@pytest.fixture(scope="session")
def small(made) -> grade.Assignment:
    return grade.load(made / "01_small")
