# Answers to `interaction` that the grader must tell apart: plausible mistakes, and right ones written otherwise.
# ruff: noqa: F811

# %% wrong: the share upside down, the product over the whole
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    return lost - lost_a - lost_b, (start / file_a) * (start / file_b) / (start / file)


# %% wrong: the sign of the interaction, the sum minus the whole
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    return lost_a + lost_b - lost, file_a * file_b / (start * file)


# %% wrong: the factors of two integers are divided as integers
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    product = (start // file_a) * (start // file_b)
    return lost - lost_a - lost_b, (start // file) / product


# %% wrong: the pair is looked up in alphabetical order
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[tuple(sorted((first, second)))]
    return lost - lost_a - lost_b, file_a * file_b / (start * file)


# %% wrong: the factors are added, as if savings summed
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    return lost - lost_a - lost_b, (start / file) / (start / file_a + start / file_b)


# %% wrong: sizes multiplied in bytes, without the start
def interaction(measured, first, second):
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    return lost - lost_a - lost_b, file / (file_a * file_b)


# %% wrong: an interaction below zero is taken for none
def interaction(measured, first, second):
    start = measured[()][1]
    lost_a, file_a = measured[(first,)]
    lost_b, file_b = measured[(second,)]
    lost, file = measured[first, second]
    return max(0.0, lost - lost_a - lost_b), file_a * file_b / (start * file)


# %% wrong: what was looked up is taken out of the measurements
def interaction(measured, first, second):
    start = measured.pop(())[1]
    lost_a, file_a = measured.pop((first,))
    lost_b, file_b = measured.pop((second,))
    lost, file = measured.pop((first, second))
    return lost - lost_a - lost_b, file_a * file_b / (start * file)


# %% wrong: the public answer
def interaction(measured, first, second):
    return 0.5, 0.75


# %% right: in logarithms, as a tensor
def interaction(measured, first, second):
    import torch

    stacks = [(), (first,), (second,), (first, second)]
    table = torch.tensor([measured[stack] for stack in stacks], dtype=torch.double)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.double)
    lost, log_file = signs @ table[:, 0], signs @ table[:, 1].log()
    return float(lost), float((-log_file).exp())


# %% right: what the second adds after the first, against what it does alone
def interaction(measured, first, second):
    lost = {stack: values[0] for stack, values in measured.items()}
    file = {stack: values[1] for stack, values in measured.items()}
    after = file[(first,)] / file[(first, second)]
    alone = file[()] / file[(second,)]
    return [lost[(first, second)] - lost[(first,)] - lost[(second,)], after / alone]
