"""What the kernels are told of one post."""

from __future__ import annotations

from typing import NamedTuple


class Post(NamedTuple):
    """One observation of a post, scored or not.

    Attributes
    ----------
    id:
        The source's id; another observation of the same id is an edit or a re-delivery.
    author:
        Who wrote it, None where the source does not say.
    simhash:
        64-bit fingerprint of the text (``simhash.simhash``); 0 is a text without words, which is nobody's duplicate.
    positive, negative, neutral:
        The model's probabilities; all three None where the post has no score.
    likes, reposts, replies, followers:
        Engagement as observed; None, or a negative number, is not known.
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
