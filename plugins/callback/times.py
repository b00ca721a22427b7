"""How long each task took, a line of JSON each, in the file that FACE_TASK_TIMES names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: times
    type: aggregate
    short_description: How long each task took, a line of JSON each
    description:
      - Appends to the file that the environment variable E(FACE_TASK_TIMES) names; without it, does nothing.
      - C(./check times) shows what it wrote.
    requirements:
      - enabled by C(callbacks_enabled=times)
"""


class CallbackModule(CallbackBase):  # type: ignore[misc,unused-ignore]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._file = os.environ.get("FACE_TASK_TIMES", "")
        self._playbook = ""
        self._play = ""
        self._task = ""
        self._began = 0.0

    def _next(self, task: str) -> None:
        """The task under way has ended, and `task` begins; none where it is empty."""
        now = time.time()
        if self._file and self._task:
            line = {
                "run": os.getpid(),
                "playbook": self._playbook,
                "check": bool(context.CLIARGS.get("check")),
                "play": self._play,
                "task": self._task,
                "at": round(self._began, 3),
                "seconds": round(now - self._began, 3),
            }
            # Several of Ansible's processes write into one file: each line is one write.
            with Path(self._file).open("a") as out:
                out.write(json.dumps(line) + "\n")
        self._task, self._began = task, now

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._next("")
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        self._next(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._next(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002
        self._next("")
