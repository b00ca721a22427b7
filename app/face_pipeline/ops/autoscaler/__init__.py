"""The autoscaler: as many workers as the queues need (docs/scaling-autoscaler.md).

`rule` decides how many, `spread` on which hosts, `host` looks at this one, `agent` joins them over Redis.
"""
