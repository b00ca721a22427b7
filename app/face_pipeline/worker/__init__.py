"""The worker process: what Celery loads (`celery`), its `tasks`, start and end (`signals`), threads (`pool`).

`celery -A face_pipeline.worker worker …` starts one. Nothing else imports this package: `broker` names the
tasks and sends them.
"""
