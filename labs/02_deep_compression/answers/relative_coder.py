# Answers to relative_coder that the tests must tell apart, one a cell.
# ruff: noqa: F811

# %% wrong: the largest symbol is kept for fillers, as if one place fewer were in reach
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector):
            while place - last >= reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols + 1) - 1] = values
        return vector

    return encode, decode


# %% wrong: symbols are distances, from place 0 on
import numpy as np


def relative_coder(bits):
    largest = 2**bits - 1

    def encode(vector):
        symbols, values, last = [], [], 0
        for place in np.flatnonzero(vector):
            while place - last > largest:
                last += largest
                symbols.append(largest)
                values.append(0)
            symbols.append(place - last)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols).astype(int)] = values
        return vector

    return encode, decode


# %% wrong: one filler at most
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector):
            if place - last > reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols + 1) - 1] = values
        return vector

    return encode, decode


# %% wrong: fillers have no value
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, last = [], -1
        for place in np.flatnonzero(vector):
            while place - last > reach:
                last += reach
                symbols.append(reach - 1)
            symbols.append(place - last - 1)
            last = place
        return symbols, vector[np.flatnonzero(vector)]

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols + 1) - 1] = values
        return vector

    return encode, decode


# %% wrong: fillers go on to the end of the vector
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, zeros = [], [], 0
        for value in vector:
            if value or zeros == reach - 1:
                symbols.append(zeros)
                values.append(value)
                zeros = 0
            else:
                zeros += 1
        return symbols, values

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols + 1) - 1] = values
        return vector

    return encode, decode


# %% wrong: the decoder skips fillers, and with them their distance
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector):
            while place - last > reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        vector, place = np.zeros(n, values.dtype), -1
        for symbol, value in zip(symbols, values):
            if value != 0:
                place += symbol + 1
                vector[place] = value
        return vector

    return encode, decode


# %% wrong: the decoded vector ends at the last weight
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector):
            while place - last > reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        vector = []
        for symbol, value in zip(symbols, values):
            vector += [0] * symbol + [value]
        return vector

    return encode, decode


# %% wrong: the decoder adds up in place
import numpy as np


def relative_coder(bits):
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector):
            while place - last > reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return symbols, values

    def decode(symbols, values, n):
        symbols += 1
        vector = np.zeros(n, values.dtype)
        vector[symbols.cumsum() - 1] = values
        return vector

    return encode, decode


# %% right: all distances at once, as quotient and remainder
import numpy as np


def relative_coder(bits):
    def encode(vector):
        places = np.flatnonzero(vector)
        fillers, rest = np.divmod(np.diff(places, prepend=-1) - 1, 2**bits)
        where = np.cumsum(fillers + 1) - 1
        stored = len(places) + fillers.sum()
        symbols, values = np.full(stored, 2**bits - 1), np.zeros(stored, vector.dtype)
        symbols[where], values[where] = rest, vector[places]
        return symbols, values

    def decode(symbols, values, n):
        vector = np.zeros(n)
        vector[(symbols + 1).cumsum() - 1] = values
        return vector

    return encode, decode


# %% right: lists, by counting zeros
def relative_coder(bits):
    def encode(vector):
        symbols, values, zeros = [], [], 0
        for value in vector.tolist():
            if value == 0:
                zeros += 1
                continue
            while zeros >= 2**bits:
                symbols.append(2**bits - 1)
                values.append(0)
                zeros -= 2**bits
            symbols.append(zeros)
            values.append(value)
            zeros = 0
        return symbols, values

    def decode(symbols, values, n):
        vector = []
        for symbol, value in zip(symbols.tolist(), values.tolist()):
            vector += [0] * symbol + [value]
        return vector + [0] * (n - len(vector))

    return encode, decode
