"""Homework made of the labs: student notebooks and autograders, and fair grades for what comes back.

Otter-Grader assigns and runs the tests. What stands here is around it: a notebook that checks itself anywhere, and
a process of its own, with limits, for each student's code.
"""
