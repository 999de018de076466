"""labkit: the helpers of the lab book "The Efficiency Stack".

measure     what a model costs and what it is worth
record      a lab's results, with their spread and the environment they came from
claims      what is promised, against what was measured
plot        the few pictures every lab uses
drawings    what explains an idea before it is measured
zoo         real models and data, from the source that is reachable
techniques  short reference implementations of what the labs teach
scale       quick, standard or full

Importing labkit itself loads none of these: a lab imports what it uses.
"""

from labkit._show import show

__all__ = ["show"]
