"""Short reference implementations of what the labs teach, one technique a file.

A lab shows them with `labkit.show`, so what is read is what is tested and run.
"""
