# Answers to account that the tests must tell apart, one a cell. They share all but the
# line that is wrong.
# ruff: noqa: F811

# %% wrong: fillers are forgotten
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        p = next((p for p in widths if 2**p >= distances.max()), max(widths))
        parts = [kept * code_bits, kept * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: fillers cost a position and no code
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * p)
        parts = [kept * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: the codebook in bytes beside the others in bits
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 4 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: the first distance counts from place 0
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=0)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: one filler more where the distance is exactly in reach
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: (1 + distances // 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: one width for all masks, that of the first
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each, p = [], [], [], None
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = p or min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: the prediction counts the positions as well
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / (code_bits + p))
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: what grows is told by all bits, not by those for each kept weight
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts))
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] - each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: what grows is told by a factor, not by bits
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = [entries[p] * code_bits, entries[p] * p, 32 * 2**code_bits]
        rate.append(32 * mask.size / sum(parts))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append(np.array(parts) / kept)
    ratio = np.divide(rate, naive)
    grows = ["codes", "positions", "codebook"][np.argmax(each[-1] / each[0])]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}


# %% wrong: the answer that is expected, without looking
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    rate, naive = [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        entries = {p: np.ceil(distances / 2**p).sum() for p in widths}
        bits = min(entries[p] * (code_bits + p) for p in widths) + 32 * 2**code_bits
        rate.append(32 * mask.size / bits)
        naive.append(mask.size / len(distances) * 32 / code_bits)
    ratio = np.divide(rate, naive)
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": "positions"}


# %% right: all widths of a mask as rows of a table
import numpy as np


def account(masks, code_bits, widths=range(1, 11)):
    p = np.array(widths)
    bits = []  # of each mask: codes, positions, codebook
    for mask in masks:
        gaps = np.diff(np.r_[-1, np.flatnonzero(mask)]) - 1
        entries = (1 + (gaps >> p[:, None])).sum(axis=1)
        best = np.argmin(entries * (code_bits + p))
        bits.append(entries[best] * np.array([code_bits, p[best], 0.0]))
    bits = np.array(bits) + [0, 0, 32 << code_bits]
    n, kept = masks[0].size, np.array([mask.sum() for mask in masks])
    rate, naive = 32 * n / bits.sum(axis=1), 32 * n / (kept * code_bits)
    risen = bits[-1] / kept[-1] - bits[0] / kept[0]
    names = np.array(["codes", "positions", "codebook"])
    grows = names[risen.argmax()]
    return {"rate": rate, "naive": naive, "ratio": rate / naive, "grows": grows}


# %% right: place by place, without NumPy
def account(masks, code_bits, widths=range(1, 11)):
    rate, naive, each = [], [], []
    for mask in masks:
        gaps, zeros = [], 0
        for kept in mask.flatten().tolist():
            zeros += 1
            if kept:
                gaps.append(zeros)
                zeros = 0
        forms = []
        for p in widths:
            entries = sum((gap + 2**p - 1) // 2**p for gap in gaps)
            forms.append({"codes": entries * code_bits, "positions": entries * p})
        parts = min(forms, key=lambda form: sum(form.values()))
        parts["codebook"] = 32 * 2**code_bits
        rate.append(32 * mask.size / sum(parts.values()))
        naive.append(32 * mask.size / (len(gaps) * code_bits))
        each.append({part: bits / len(gaps) for part, bits in parts.items()})
    risen = {part: each[-1][part] - bits for part, bits in each[0].items()}
    ratio = [measured / product for measured, product in zip(rate, naive)]
    grows = sorted(risen, key=risen.get)[-1]
    return {"rate": rate, "naive": naive, "ratio": ratio, "grows": grows}
