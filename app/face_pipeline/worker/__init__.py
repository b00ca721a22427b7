"""Celery: the application and its queues (`app`), and what runs in a worker (`celery`, `tasks`, `signals`).

`celery -A face_pipeline.worker worker …` starts a worker. Web processes and the reconciler import
`worker.app` alone, which names tasks and queues and loads no model.
"""
