"""What goes over the wire between a user and the service."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Question(BaseModel):
    """What a user says. The same conversation gets the same work, token times and failures included."""

    conversation: str = Field(min_length=1, max_length=64)
    text: str = Field(min_length=1, max_length=2000)


class Answer(BaseModel):
    """What the agent replies, and what it cost."""

    conversation: str
    text: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
