"""The names that processes agree on: queues, tasks and keys."""

from __future__ import annotations

QUEUE_SEARCH = "search"
QUEUE_INGEST = "ingest"
QUEUES = (QUEUE_SEARCH, QUEUE_INGEST)
TASK_INGEST = "face_pipeline.ingest"
TASK_SEARCH = "face_pipeline.search"
TASK_PICTURE = "face_pipeline.picture"
TASKS = (TASK_INGEST, TASK_SEARCH, TASK_PICTURE)

# The level of one service's log, or of all, in the Redis of the queues (log_level.py).
LOG_LEVEL = "face:log-level:{service}"

# Of autoscalers, in the Redis of the queues: who ever spoke, what each last said, the leader's lock, who runs
# how many workers.
AGENTS = "face:autoscaler:agents"
AGENT = "face:autoscaler:agent:{host}"
LEADER = "face:autoscaler:leader"
ASSIGNMENT = "face:autoscaler:assignment"

# Of workers, in the Redis of the queues: who lately spoke, and what each last said.
WORKERS = "face:workers"
WORKER = "face:worker:{name}"

# In the scratch Redis: a search under way, its cached answer, how often one was there.
SEARCH = "face:search:{search}:{part}"
ANSWER = "face:search:answer:{wanted}"
ANSWERS_COUNTED = "face:search:cache:{status}"

# What was let through, by key and by address (limits.py).
LIMITS = "face:limits"
