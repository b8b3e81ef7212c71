"""What a request is made to do: drawn at its start from its conversation's id, so that it is the same on every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.apps.agent.settings import Settings

_TEXT = (
    "your order is on its way and should arrive by Friday because the parcel left our store in Leeds yesterday if it "
    "does not come please write to us again with the number on the label so that we can send you another one"
)
_TOKENS_PER_CHUNK = 8  # a busy endpoint sends several tokens in an event


@dataclass(frozen=True)
class Work:
    """One request's share of chance.

    Attributes:
        chunks: The answer as the model sends it, one word a token.
        chunk_waits_s: How long the model takes for each; the first comes after its time to first token.
        tool_fails: The order service answers the first call with an error.
        large: The agent carries a large state.
    """

    chunks: tuple[str, ...]
    chunk_waits_s: tuple[float, ...]
    answer_tokens: int
    prompt_tokens: int
    scores: tuple[float, ...]
    response_id: str
    tool_fails: bool
    large: bool


def work_for(conversation: str, settings: Settings) -> Work:
    """Return what this conversation's requests do."""
    chance = random.Random(conversation)
    # Each question is drawn whatever the answers before it were, so that a share that is changed changes nothing else.
    tool_fails = chance.random() < settings.tool_failure_share
    large = chance.random() < settings.large_share
    tokens = chance.randint(24, 40)
    words = [f"{word} " for word in chance.choices(_TEXT.split(), k=tokens)]
    chunks = tuple("".join(words[first : first + _TOKENS_PER_CHUNK]) for first in range(0, tokens, _TOKENS_PER_CHUNK))
    wait_s = _TOKENS_PER_CHUNK / settings.tokens_per_second
    return Work(
        chunks=chunks,
        chunk_waits_s=tuple(wait_s * chance.uniform(0.5, 1.5) for _ in chunks),
        answer_tokens=tokens,
        prompt_tokens=chance.randint(900, 1600),
        scores=tuple(round(chance.random(), 4) for _ in range(20)),
        response_id=f"chatcmpl-{chance.getrandbits(96):024x}",
        tool_fails=tool_fails,
        large=large,
    )
