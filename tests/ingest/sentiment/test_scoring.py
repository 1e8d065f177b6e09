"""Scoring without streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.messages.kinds import ScoredPost, SocialPost
from ingest.messages.refusal import Refused
from ingest.sentiment.history import History
from ingest.sentiment.scoring import Scoring, finder
from ingest.settings import Settings, SettingsError
from tests.ingest.sentiment.words import NOW_MS, Words


def score(post: SocialPost, settings: Settings | None = None, *, recorded: bool = False) -> list[ScoredPost]:
    scoring = Scoring(Words(), settings or Settings(), History(None), now_ms=lambda: NOW_MS)
    [outcome] = scoring.score([scoring.accept(post, is_recorded=recorded)]).outcomes
    assert not isinstance(outcome, Refused)
    return outcome


def test_symbols_that_the_message_gives_are_not_searched_for() -> None:
    messages = score(SocialPost(NOW_MS, "1", "$BTC up", "x", symbols=["X:Y-Z", "X:Y-Z"]))
    assert [message.symbol for message in messages] == ["X:Y-Z"]


def test_names_in_a_list_of_symbols_are_looked_up_in_the_alias_table() -> None:
    listed = ["BTC", "$link", "Bitcoin", "BTC-USD", "BTCUSDT", "near"]
    messages = score(SocialPost(NOW_MS, "1", "up", "x", symbols=listed))
    assert [message.symbol for message in messages] == ["BTCUSDT", "LINKUSDT", "BTC-USD", "NEARUSDT"]
    configured = Settings(symbols=frozenset({"BTC"}))
    assert [m.symbol for m in score(SocialPost(NOW_MS, "1", "up", "x", symbols=["BTC"]), configured)] == ["BTC"]


def test_a_post_that_says_nothing_has_no_score() -> None:
    [message] = score(SocialPost(NOW_MS, "1", " ", "x", symbols=["BTCUSDT"]))
    assert (message.positive, message.negative, message.neutral) == (None, None, None)
    assert message.simhash == 0


def test_a_recorded_post_counts_from_when_it_was_received_or_observed() -> None:
    post = SocialPost(1_700_000_000_000, "1", "$BTC up", "x", received=1_700_000_000_500)
    [message] = score(post, recorded=True)
    assert (message.available, message.received) == (1_700_000_000_500, 1_700_000_000_500)
    post.observed_at = 1_700_000_000_900
    [message] = score(post, recorded=True)
    assert (message.available, message.received) == (1_700_000_000_900, 1_700_000_000_900)


def test_only_configured_symbols_are_scored() -> None:
    settings = Settings(symbols=frozenset({"ETHUSDT"}))
    with pytest.raises(Refused, match="unknown_symbol"):
        score(SocialPost(NOW_MS, "1", "btc up", "x"), settings)
    assert [m.symbol for m in score(SocialPost(NOW_MS, "2", "btc and eth up", "x"), settings)] == ["ETHUSDT"]


def test_a_text_is_scored_once_a_batch() -> None:
    model = Words()
    scoring = Scoring(model, Settings(), History(None), now_ms=lambda: NOW_MS)
    posts = [scoring.accept(SocialPost(NOW_MS, str(i), "$BTC up", "x"), is_recorded=False) for i in range(5)]
    batch = scoring.score(posts)
    assert model.scored == ["$BTC up"]
    assert len(batch.outcomes) == 5
    assert (batch.texts, batch.tokens) == (1, 2)


def test_a_text_on_which_the_model_fails_is_refused_and_the_others_are_scored() -> None:
    scoring = Scoring(Words(), Settings(), History(None), now_ms=lambda: NOW_MS)
    texts = ["$BTC up", "$BTC poison", "$BTC down"]
    posts = [scoring.accept(SocialPost(NOW_MS, text, text, "x"), is_recorded=False) for text in texts]
    batch = scoring.score(posts)
    assert [isinstance(outcome, Refused) for outcome in batch.outcomes] == [False, True, False]
    assert batch.texts == 2


def test_the_alias_table_is_read_from_the_configured_file(tmp_path: Path) -> None:
    path = tmp_path / "aliases.toml"
    path.write_text('XAUUSD = ["gold"]')
    assert finder(Settings(aliases=path)).find("Gold and btc") == ["XAUUSD"]
    path.write_text("XAUUSD = 1")
    with pytest.raises(SettingsError, match=r"TFS_ALIASES=.*XAUUSD needs a list"):
        finder(Settings(aliases=path))
