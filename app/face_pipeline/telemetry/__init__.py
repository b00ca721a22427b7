"""What the processes tell about themselves: metrics, JSON log lines, request and task ids."""
