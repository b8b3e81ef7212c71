"""A user of the reference app, for locust: `locust -f loadtests/users/agent_user.py -H http://127.0.0.1:8000`.

Closed loop: each user asks, waits for the whole answer, thinks for two seconds on average, and asks again. Users start
at different moments of their thinking time; started in phase, they would make bursts of their own.
"""

from __future__ import annotations

import itertools
import json
import random
import time

from locust import FastHttpUser, task

_NUMBERS = itertools.count()
_MEAN_THINK_S = 2.0
_STREAM_EVERY = 4
_TEXT = "Where is my order, and can I return it?"


class AgentUser(FastHttpUser):
    """Asks the support agent; every fourth answer is streamed.

    The n-th question of the m-th user has the same conversation, the same path and the same thinking time on every run.
    """

    def on_start(self) -> None:
        """The user has a number, and has thought for part of a while."""
        self._number = next(_NUMBERS)
        self._asked = 0
        self._chance = random.Random(self._number)
        # locust has replaced it by gevent's, which lets the other users go on
        time.sleep(self._chance.uniform(0, _MEAN_THINK_S))

    def wait_time(self) -> float:
        """Return for how many seconds the user thinks."""
        return self._chance.uniform(0.5, 1.5) * _MEAN_THINK_S

    @task
    def ask(self) -> None:
        """A question is answered, in one piece or in many."""
        self._asked += 1
        question = {"conversation": f"user-{self._number}-{self._asked}", "text": _TEXT}
        if (self._number + self._asked) % _STREAM_EVERY == 0:
            self._ask_for_stream(question)
        else:
            self._ask(question)

    def _ask(self, question: dict[str, str]) -> None:
        with self.client.post("/chat", json=question, catch_response=True) as response:
            if response.status_code == 0:
                response.failure(f"no answer: {response.error}")
            elif response.status_code != 200:  # noqa: PLR2004
                response.failure(f"expected status 200, got {response.status_code}: {response.text[:200]}")
            elif response.json()["conversation"] != question["conversation"]:
                response.failure(f"expected an answer to {question['conversation']}, got {response.text[:200]}")

    def _ask_for_stream(self, question: dict[str, str]) -> None:
        with self.client.post("/chat/stream", json=question, catch_response=True) as response:
            last = (response.text or "").rstrip().rpartition("\n\n")[2]
            name, _, data = last.partition("\ndata: ")
            if name != "event: answer" or json.loads(data)["conversation"] != question["conversation"]:
                response.failure(f"expected an answer event at the end, got {response.status_code}: {last[:200]!r}")
