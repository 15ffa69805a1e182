"""Kinds of hostile input, in families: what can be sent to a line from outside, and never should stop it.

`all_kinds` is the table. Each kind sends itself once to a `Target`, which knows the broker, Redis, the HTTP port and
where the frames that it sent came to lie: each of these has to have exactly one result.

- `target`: `Kind`, and what a kind may speak to.
- `frames`: keys, headers, times, values, names and codecs of frames that any producer can send.
- `batches`: record batches that a client library cannot read, written raw or damaged on the broker's disk.
- `references`: what a frame by reference may point at.
- `alarms`: acknowledgements, hashes and keys of other types in Redis.
- `messages`: feedback, announcements and results of others on Kafka.
- `requests`: bytes that are no HTTP request, or too much of one.
- `table`: all of them.
"""
