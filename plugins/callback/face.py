"""What the project's playbooks print: plays, what changed, what a task says to people, and what failed.

With `-e format=json` a playbook that shows the workers prints one JSON document, which is all there is on
standard output.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
    name: face
    type: stdout
    short_description: Plays, changes, messages and failures; one JSON document where format=json asks for it
    description:
      - As the callback C(default), without the tasks that changed nothing. C(-v) shows those too.
      - The message of a M(ansible.builtin.debug) task is printed as it is, a line each.
      - A playbook that shows the workers prints one JSON document with C(-e format=json), and nothing else.
    extends_documentation_fragment:
      - default_callback
      - result_format_callback
"""

# Playbooks that end with a document: what their set_stats calls `document`.
DOCUMENTED = {"workers.yml", "scale.yml", "status.yml"}
MESSAGES = {"debug", "ansible.builtin.debug"}
# Tasks that fail with a sentence written for people: where it stands in the code helps nobody.
WORDS = {"fail", "ansible.builtin.fail", "assert", "ansible.builtin.assert"}


class Quiet:
    """Ansible's display with standard output left out; warnings and errors go where they went."""

    def __init__(self, display: Any) -> None:
        self._display = display

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)

    def banner(self, *_: object, **__: object) -> None:
        return None

    def display(self, message: str, *arguments: Any, stderr: bool = False, **options: Any) -> None:
        if stderr:
            self._display.display(message, *arguments, stderr=True, **options)


class CallbackModule(Default):  # type: ignore[misc,unused-ignore]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "face"
    _display: Any

    def __init__(self) -> None:
        super().__init__()
        self._playbook = ""
        self._json = False
        self._failed: dict[str, str] = {}
        self._code = ""

    # One JSON document

    def get_option(self, k: str, hostvars: Any = None) -> Any:
        # What people are to read of a failure goes where it does not mix with the document.
        return True if self._json and k == "display_failed_stderr" else super().get_option(k, hostvars)

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name
        super().v2_playbook_on_start(playbook)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        wanted = play.get_variable_manager().extra_vars.get("format")
        if wanted == "json" and self._playbook in DOCUMENTED and not self._json:
            self._json = True
            self._display = Quiet(self._display)
            # An error that ends the run early is told on standard error, and no statistics follow.
            atexit.register(self._end, os.getpid())
        super().v2_playbook_on_play_start(play)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._code = "no_hosts"
        super().v2_playbook_on_no_hosts_matched()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._note(result, result.task.vars.get("face_error", "task_failed"))
        if result.task.action in WORDS and not result.task.loop and self._display.verbosity == 0:
            self._say(result, ignore_errors)
        else:
            super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        # What goes on without a host tells of it by itself.
        if result.task.ignore_unreachable:
            return
        self._note(result, "host_unreachable")
        super().v2_runner_on_unreachable(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        super().v2_playbook_on_stats(stats)
        if self._json:
            self._print(stats.custom.get("_run", {}).get("document") or {})

    def _note(self, result: Any, code: str) -> None:
        said = result.result
        # Of what a program said the last line, which says what went wrong.
        words = said.get("censored") or said.get("stderr") or said.get("msg") or "failed"
        self._failed[result.host.get_name()] = str(words).strip().splitlines()[-1]
        self._code = self._code or code

    def _print(self, document: dict[str, Any]) -> None:
        if self._failed:
            words = list(dict.fromkeys(self._failed.values()))
            document["error"] = {"code": self._code, "message": "; ".join(words), "hosts": self._failed}
        elif not document and self._code == "no_hosts":
            message = "no host of the group `workers` is in this run: see -i and --limit"
            document["error"] = {"code": self._code, "message": message, "hosts": {}}
        self._json = False
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def _end(self, process: int) -> None:
        if self._json and os.getpid() == process:
            self._code = self._code or "run_failed"
            self._failed = self._failed or {"localhost": "the run ended early; standard error says why"}
            self._print({})

    # No more than there is to say

    def v2_runner_on_ok(self, result: Any) -> None:
        if self._speaks(result):
            self._message(result.task, result.host.get_name(), result.result["msg"])
        elif result.task.action in MESSAGES or result.result.get("changed") or self._display.verbosity > 0:
            super().v2_runner_on_ok(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self._speaks(result):
            self._message(result.task, result.host.get_name(), result.result["msg"])
        elif result.task.action in MESSAGES or result.result.get("changed") or self._display.verbosity > 0:
            super().v2_runner_item_on_ok(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._display.verbosity > 0:
            super().v2_playbook_on_include(included_file)

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        super()._task_start(task, prefix)
        # One that says how long it takes is named before it ends.
        if "minute" in task.get_name() and self._last_task_banner != task._uuid:
            self._print_task_banner(task)

    def _say(self, result: Any, ignored: bool) -> None:
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        words = f"fatal: [{self.host_label(result)}]: {result.result.get('msg', 'failed')}"
        self._display.display(words, color=C.COLOR_ERROR, stderr=self.get_option("display_failed_stderr"))
        if ignored:
            self._display.display("...ignoring", color=C.COLOR_SKIP)

    def _speaks(self, result: Any) -> bool:
        """Is it a message in lines, which need nothing around them? Data are shown as Ansible shows them."""
        message = result.result.get("msg")
        lines = message if isinstance(message, list) else [message]
        plain = result.task.action in MESSAGES and all(isinstance(line, str) for line in lines)
        return plain and self._display.verbosity == 0

    def _message(self, task: Any, host: str, message: str | list[str]) -> None:
        if self._last_task_banner != task._uuid:
            self._print_task_banner(task)
        if not task.run_once:
            self._display.display(f"ok: [{host}]")
        for line in [message] if isinstance(message, str) else message:
            self._display.display(line)
