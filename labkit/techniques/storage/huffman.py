"""Huffman coding: frequent symbols get short codes, so that all symbols together take
little more than their entropy.

Here it is as textbooks have it, bit by bit. Deep Compression (Han et al. 2016,
arXiv:1510.00149) stores the shared weights of a pruned network and the distances
between them this way; the files of `deep_compression` hold the same codes in a stream
that NumPy reads fast (`_huffman_stream`).

Sources: Huffman 1952 (doi:10.1109/JRPROC.1952.273898); codes of limited length by
package-merge, Larmore and Hirschberg 1990 (doi:10.1145/79147.79150); canonical codes as
in Deflate (RFC 1951).
"""

from __future__ import annotations

import numpy as np

LONGEST = 15  # bits of the longest code: its length fits into four bits


def entropy(symbols: np.ndarray) -> float:
    """Bits per symbol that no code of one symbol at a time can go below (Shannon 1948).

    Args:
        symbols: integers of any shape.

    Returns:
        Bits per symbol; 0 for no symbols.

    >>> entropy(np.array([-1, -1, 7, 8]))
    1.5
    """
    counts = np.unique(symbols, return_counts=True)[1]
    return float(np.sum(counts * np.log2(counts.sum() / counts)) / max(1, counts.sum()))


def code_lengths(counts: np.ndarray, longest: int = LONGEST) -> np.ndarray:
    """Bits of each symbol's code, such that all the symbols take the fewest.

    Without a limit these are the lengths of Huffman's tree. With one they are found by
    package-merge (Larmore and Hirschberg 1990).

    Args:
        counts: how often each symbol occurs, (m,).
        longest: bits that no code may exceed.

    Returns:
        Bits, (m,): 0 for a symbol that never occurs, 1 for a lone one.

    Raises:
        ValueError: `longest` bits cannot tell the symbols apart.

    >>> code_lengths(np.array([8, 4, 2, 1, 1]))
    array([1, 2, 3, 4, 4])
    """
    counts = np.asarray(counts, dtype=np.int64)
    lengths = np.zeros_like(counts)
    rarest = np.argsort(counts, kind="stable")
    rarest = rarest[counts[rarest] > 0]
    m = len(rarest)
    if m > 2**longest:
        raise ValueError(
            f"{m:,} different symbols need codes of more than {longest} bits: "
            "use fewer, with a smaller codebook for instance"
        )
    # Package-merge solves the coin collector's problem. Each symbol is a coin of every
    # denomination from 2**-1 to 2**-longest, and its count is the numismatic value of
    # each. A code of l bits is the coins 2**-1 to 2**-l, together 1 - 2**-l. In a
    # complete code all 2**-l add up to 1 (Kraft), so m codes are m - 1: pay it with the
    # coins of the least numismatic value.
    # From the smallest denomination on, package the coins in pairs, cheapest first, and
    # merge the packages with the coins of the next denomination.
    packages, rounds = np.empty(0, np.int64), []
    for _ in range(longest):
        items = np.concatenate([counts[rarest], packages])
        order = np.argsort(items, kind="stable")
        rounds.append(order < m)  # True: a coin, False: a package
        packages = items[order][: len(items) // 2 * 2].reshape(-1, 2).sum(axis=1)
    # In halves, m - 1 is the 2m - 2 cheapest items of the last round. A package among
    # them is two items of the round before, again the cheapest, and so on.
    chosen = max(1, 2 * m - 2)
    for is_coin in reversed(rounds):
        coins = int(is_coin[:chosen].sum())
        lengths[rarest[:coins]] += 1
        chosen = 2 * (chosen - coins)
    return lengths


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """The code of each symbol, as a number of that many bits.

    Short codes come first, codes of one length in the order of their symbols, and each
    begins where the one before ends. So the lengths are all that a decoder needs.

    Args:
        lengths: bits of each code, (m,), as `code_lengths` gives them.

    Returns:
        Codes, (m,); 0 for a symbol of 0 bits, which has none.

    >>> canonical_codes(np.array([2, 1, 2])).tolist()  # 10, 0, 11
    [2, 0, 3]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    codes = np.zeros_like(lengths)
    order, shares = code_order(lengths)
    codes[order] = (np.cumsum(shares) - shares) // shares
    return codes


def code_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbols that have a code in the order of their codes, and the share of each.

    A share says how many of all bit strings as long as the longest code begin with the
    symbol's code.

    >>> [part.tolist() for part in code_order(np.array([2, 1, 2]))]
    [[1, 0, 2], [2, 1, 1]]
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    return order, 1 << (lengths.max(initial=0) - lengths[order])


def codewords(lengths: np.ndarray) -> dict[int, str]:
    """The bits of every symbol that has a code.

    >>> codewords(np.array([2, 1, 0, 2]))
    {0: '10', 1: '0', 3: '11'}
    """
    codes = canonical_codes(lengths)
    return {s: f"{codes[s]:0{lengths[s]}b}" for s in np.flatnonzero(lengths).tolist()}


def encode(symbols: np.ndarray, lengths: np.ndarray) -> str:
    """The codes of all symbols behind each other.

    Args:
        symbols: integers 0 to m - 1 of any shape, flattened.
        lengths: bits of each symbol's code, (m,).

    Returns:
        A string of the characters 0 and 1.

    Raises:
        ValueError: a symbol occurs that has no code.

    >>> encode(np.array([1, 0, 1, 2]), np.array([2, 1, 2]))
    '010011'
    """
    words, symbols = codewords(lengths), np.ravel(symbols).tolist()
    if missing := set(symbols) - words.keys():
        raise ValueError(f"{min(missing)} has no code: count all symbols, then encode")
    return "".join(words[symbol] for symbol in symbols)


def decode(bits: str, lengths: np.ndarray) -> np.ndarray:
    """The symbols that `encode` wrote: read until the bits are a code, and begin again.

    No code begins with another, so the first one that fits is the right one.

    Args:
        bits: a string of the characters 0 and 1.
        lengths: bits of each symbol's code, (m,), the same as for `encode`.

    Returns:
        Symbols, int64, (n,).

    Raises:
        ValueError: the bits end within a code.

    >>> decode("010011", np.array([2, 1, 2]))
    array([1, 0, 1, 2])
    """
    symbol_of = {word: symbol for symbol, word in codewords(lengths).items()}
    symbols, word = [], ""
    for bit in bits:
        word += bit
        if word in symbol_of:
            symbols.append(symbol_of[word])
            word = ""
    if word:
        raise ValueError(f"the bits end within a code ({word}): give all of them")
    return np.array(symbols, np.int64)
