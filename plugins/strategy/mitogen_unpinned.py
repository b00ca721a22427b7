"""Mitogen's linear strategy, on all cores, and with what each task needs loaded once.

Mitogen binds Ansible's processes to single cores, and what they start on this machine to what it leaves: on
two cores that is one, for all scenarios at once, for the tests that they run, and for the guests they boot.

Ansible forks a process for each task of each host. What a task is the first to need is loaded there, and lost
with it: all filters and tests, for instance, for one condition. That is a tenth of a short task's computing.
Half of the tasks of site.yml are skipped on a host: these need no process, and neither do those that only
include others or set facts.
"""

from __future__ import annotations

import gc
from typing import Any

import ansible_mitogen.affinity

# Does nothing; read at each call, and before the first process is made.
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

import ansible_mitogen.connection  # noqa: E402
import ansible_mitogen.planner  # noqa: E402
from ansible import constants  # noqa: E402
from ansible._internal import _task  # noqa: E402
from ansible.errors import AnsibleError  # noqa: E402
from ansible.executor.task_executor import TaskExecutor  # noqa: E402
from ansible.executor.task_result import _RawTaskResult  # noqa: E402
from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import connection_loader, get_plugin_loader_namespace, shell_loader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402
from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule as MitogenLinear  # noqa: E402

# They do all of their work on this side, and at once.
HERE = {
    *constants._ACTION_INCLUDE_TASKS,
    *constants._ACTION_INCLUDE_ROLE,
    *constants._ACTION_SET_FACT,
    *constants._ACTION_DEBUG,
    "ansible.builtin.assert",
}

_loaded = False


def _load() -> None:
    """Fill the caches of this process, which those of the tasks inherit."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    Templar(loader=DataLoader()).evaluate_expression(trust_as_template("[1] | length is defined"))
    for name in ("mitogen_local", "mitogen_ssh"):
        connection_loader.get(name, class_only=True)
    shell_loader.get("sh", class_only=True)
    get_module_decoder("legacy", Direction.MODULE_TO_CONTROLLER)
    get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)
    # What is never collected is not copied either, page by page, in each process.
    gc.collect()
    gc.freeze()


def _skipped(task: Any, task_vars: dict[str, Any]) -> dict[str, Any] | None:
    """What a skipped task comes to. Nothing where the task is done, or its condition says something wrong."""
    condition: dict[str, Any] = {}
    try:
        with _task.TaskContext(task):
            met = task._resolve_conditional(task.when, task_vars, result_context=condition)
    except AnsibleError:
        return None
    if met:
        return None
    return {"changed": False, "skipped": True, "skip_reason": "Conditional result was False", **condition}


class StrategyModule(MitogenLinear):  # type: ignore[misc]
    def _queue_task(self, host: Any, task: Any, task_vars: dict[str, Any], play_context: Any) -> None:
        # Not before: Mitogen's connections are found only while its strategy runs.
        _load()
        result = self._done_here(host, task, task_vars, play_context)
        if result is None:
            super()._queue_task(host, task, task_vars, play_context)
            return
        self._queued_task_cache[(host.name, task._uuid)] = {
            "host": host,
            "task": task,
            "task_vars": task_vars,
            "play_context": play_context,
        }
        self._tqm.send_callback("v2_runner_on_start", host, task)
        with self._results_lock:
            self._results.append(result)
        self._pending_results += 1

    def _done_here(self, host: Any, task: Any, task_vars: dict[str, Any], play_context: Any) -> Any:
        """The result of a task that needs no process, or nothing."""
        # What each item comes to is told from another thread, too late for its order.
        if task.loop is not None or task.loop_with or task.until or task.delegate_to:
            return None
        told = task
        if (result := _skipped(task, task_vars)) is None and task.action in HERE:
            # Its fields are given their values, those of the task stay for the next host.
            told = task.copy(exclude_parent=True)
            told._parent = task._parent
            plugins = get_plugin_loader_namespace()
            surroundings = (play_context, self._loader, plugins, self._final_q, self._variable_manager)
            with _task.TaskContext(told):
                result = TaskExecutor(host, told, task_vars, *surroundings).run()
        if result is None:
            return None
        return _RawTaskResult(host=host, task=task, return_data=result, task_fields=told.dump_attrs())
