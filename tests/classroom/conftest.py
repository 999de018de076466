from pathlib import Path

import pytest

from labkit.classroom import assign, grade

ROOT = Path(__file__).parents[2]
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
def made(tmp_path_factory) -> Path:
    """A folder of assignments with one small one in it, made by Otter."""
    folder = tmp_path_factory.mktemp("classroom")
    lab = folder / "labs" / "01_small"
    lab.mkdir(parents=True)
    twice = EXERCISE.format(name="twice", answer="2 * x", three=6, thousand=2000)
    square = EXERCISE.format(name="square", answer="x * x", three=9, thousand=1_000_000)
    (lab / "assignment.py").write_text(SMALL + twice + square)
    assign.make(lab, folder / "made" / lab.name)
    return folder / "made"


@pytest.fixture(scope="session")
def small(made) -> grade.Assignment:
    return grade.load(made / "01_small")
