"""Mitogen's linear strategy, on all cores.

Mitogen binds Ansible's processes to single cores, and what they start on this machine to what it leaves: on
two cores that is one, for all scenarios at once, for the tests that they run, and for the guests they boot.
"""

from __future__ import annotations

import ansible_mitogen.affinity

# Does nothing; read at each call, and before the first process is made.
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule  # noqa: E402

__all__ = ["StrategyModule"]
