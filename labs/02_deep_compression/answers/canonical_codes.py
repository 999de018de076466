# Answers to canonical_codes that the tests must tell apart, one a cell.
# ruff: noqa: F811

# %% wrong: equally long codes in the order of the dictionary
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) > 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lengths.get):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: symbols sorted as text
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) > 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], str(s))):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: one zero appended, however much longer the next code is
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) > 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, None
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        n = lengths[symbol]
        if before is not None and n > before:
            code *= 2
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: leading zeros are lost
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) > 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        code <<= lengths[symbol] - before
        codes[symbol] = f"{code:b}"
        code, before = code + 1, lengths[symbol]
    return codes


# %% wrong: Kraft's inequality is not looked at
def canonical_codes(lengths):
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: Kraft's sum in floating point
def canonical_codes(lengths):
    if sum(2.0**-n for n in lengths.values()) > 1:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: a code that leaves words unused is refused
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) != 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: the sum may not reach 1
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if lengths and sum(1 << longest - n for n in lengths.values()) >= 1 << longest:
        raise ValueError
    codes, code, before = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        n = lengths[symbol]
        code <<= n - before
        codes[symbol] = f"{code:0{n}b}"
        code, before = code + 1, n
    return codes


# %% wrong: the longest code comes first
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    if sum(1 << longest - n for n in lengths.values()) > 1 << longest:
        raise ValueError
    codes, start = {}, 0
    for symbol in sorted(lengths, key=lambda s: (-lengths[s], s)):
        n = lengths[symbol]
        codes[symbol] = f"{start >> longest - n:0{n}b}"
        start += 1 << longest - n
    return codes


# %% right: where the code before ends among all words of the longest length
def canonical_codes(lengths):
    longest = max(lengths.values(), default=0)
    codes, start = {}, 0
    for n, symbol in sorted((n, symbol) for symbol, n in lengths.items()):
        if start + 2 ** (longest - n) > 2**longest:
            raise ValueError("too many short codes")
        codes[symbol] = bin(start >> (longest - n))[2:].zfill(n)
        start += 2 ** (longest - n)
    return codes


# %% right: counting on a string of bits until it overflows
def canonical_codes(lengths):
    codes, word = {}, None
    for symbol in sorted(sorted(lengths), key=lengths.get):
        if word is None:
            word = ""
        elif "0" not in word:
            raise ValueError("no word is left")
        else:
            head = word.rstrip("1")
            word = head[:-1] + "1" + "0" * (len(word) - len(head))
        word = word.ljust(lengths[symbol], "0")
        codes[symbol] = word
    return codes
