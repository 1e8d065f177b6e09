"""A fingerprint of a text that changes little when the text does.

Every shingle (three words in a row; a shorter text is one shingle) is hashed to 64 bits with BLAKE2b, which gives the same on every
machine and in every run. Bit ``i`` of the fingerprint is set where bit ``i`` is set in more than half of the shingles. Copies of a text
with other links, mentions, case or punctuation have the same fingerprint. A long text with one word changed differs in few bits, and
other texts differ in about half of them. Sources: Charikar 2002; Manku, Jain and Das Sarma 2007, whose distance of 3 is used here.
"""

from __future__ import annotations

import array
import re
import sys
import unicodedata
from hashlib import blake2b

from transforms.sentiment.text import CHARACTERS_MAX, LINK

DISTANCE = 3
"""Near-duplicates differ in this many bits at most."""
SHINGLE = 3
_NOISE = re.compile(rf"{LINK}|(?<!\w)@\w+|^\s*rt\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_SPREAD = [sum(1 << 16 * bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]
"""For each byte, its bits as eight counters of 16 bits: a sum of such numbers counts all bits at once."""


def simhash(text: str) -> int:
    """Return the fingerprint of ``text``, 0 where it has no words.

    >>> simhash("BTC breaks 60k! https://a.b/c") == simhash("RT @whale: btc breaks 60K")
    True
    """
    words = _WORD.findall(_NOISE.sub(" ", unicodedata.normalize("NFKC", text[:CHARACTERS_MAX]).casefold()))
    if not words:
        return 0
    shingles = [" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))]
    total = 0
    for shingle in shingles:
        digest = blake2b(shingle.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        spread = 0
        for byte in reversed(digest):
            spread = spread << 128 | _SPREAD[byte]
        total += spread
    counts = array.array("H", total.to_bytes(128, "little"))
    if sys.byteorder == "big":
        counts.byteswap()
    half = len(shingles) / 2
    bits = 0
    for i, count in enumerate(counts):
        if count > half:
            bits |= 1 << i
    return bits or 1


def distance(a: int, b: int) -> int:
    """Return the number of bits in which two fingerprints differ."""
    return (a ^ b).bit_count()
