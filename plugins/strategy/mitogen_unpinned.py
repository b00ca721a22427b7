"""Mitogen's linear strategy, on all cores, and with what each task needs loaded once.

Mitogen binds Ansible's processes to single cores, and what they start on this machine to what it leaves: on
two cores that is one, for all scenarios at once, for the tests that they run, and for the guests they boot.

Ansible forks a process for each task of each host. What a task is the first to need is loaded there, and lost
with it: all filters and tests, for instance, for one condition. That is a tenth of a short task's computing.
"""

from __future__ import annotations

import gc
from typing import Any

import ansible_mitogen.affinity

# Does nothing; read at each call, and before the first process is made.
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

import ansible_mitogen.connection  # noqa: E402
import ansible_mitogen.planner  # noqa: E402
from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import connection_loader, shell_loader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402
from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule as MitogenLinear  # noqa: E402

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


class StrategyModule(MitogenLinear):  # type: ignore[misc]
    def _queue_task(self, *arguments: Any, **named: Any) -> Any:
        # Not before: Mitogen's connections are found only while its strategy runs.
        _load()
        return super()._queue_task(*arguments, **named)
