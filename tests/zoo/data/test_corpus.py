"""The text that Lab 03 holds out: few blocks of many topics."""

import pytest
import torch

from labkit.zoo.data import corpus

TOPICS = list("aaaabbcd")


@pytest.fixture
def held_out(monkeypatch):
    monkeypatch.setattr(corpus, "block_topics", lambda *_: TOPICS)
    monkeypatch.setattr(corpus, "blocks", lambda *_: torch.arange(8)[:, None].expand(8, 3))
    text = corpus.Corpus("", "", None, {})
    return lambda count: corpus.held_out_blocks(text, None, 3, count)


def test_each_topic_comes_once_before_one_comes_twice(held_out):
    blocks, topics = held_out(6)
    assert topics == list("abcdab")
    assert blocks.tolist() == [[i] * 3 for i in (0, 4, 6, 7, 1, 5)]


def test_more_blocks_than_there_are_cannot_be_had(held_out):
    blocks, topics = held_out(100)
    assert len(blocks) == 8 and sorted(topics) == TOPICS
