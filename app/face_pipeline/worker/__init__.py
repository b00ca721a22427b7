"""The worker process: what Celery loads (`celery`), its `tasks`, start and end (`signals`), threads (`pool`).

`python -m face_pipeline.worker` starts one. Nothing else imports this package: `broker` names the
tasks and sends them.
"""
