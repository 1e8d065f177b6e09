"""One post, as the kernel is given it."""

from __future__ import annotations

from typing import NamedTuple


class Post(NamedTuple):
    """One observation of a post, scored or not.

    Attributes
    ----------
    id : str
        The source's id; another observation of the same id is an edit or a repeated delivery.
    author : str or None
        The author, None where the source does not name one.
    simhash : int
        64-bit fingerprint of the text (``simhash.simhash``); 0 is a text without words, which is never a duplicate.
    positive, negative, neutral : float or None
        The model's probabilities; all three are None where the post has no score.
    likes, reposts, replies, followers : int or None
        Engagement as observed; None, or a negative number, is unknown.
    """

    id: str
    author: str | None = None
    simhash: int = 0
    positive: float | None = None
    negative: float | None = None
    neutral: float | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None
