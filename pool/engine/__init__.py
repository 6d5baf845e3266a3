"""The floor of a pool: a queue, workers, the jails that they lease, deadlines and counters.

`engine.py` puts it together. Nothing here knows the API that stands on it (`Pool`, `Session`,
`Snapshot`), nor judging, nor fuzzing: what it takes is a job, or two of them that talk to each
other, or a call that takes a worker's turn; what it gives is a future of a `Result`.
"""
