"""Wire formats: what stands in Kafka's records and in Redis, as functions without input or output.

| file | holds |
|---|---|
| `cloudevents` | CloudEvents 1.0 in binary mode: attributes to headers and back |
| `frames` | `read_frame`: a record is always a frame, if only one with a flaw; `frame_headers` for producers |
| `results` | results and dead letters |
| `feedback` | feedback, its replies and announced generations |
| `signatures` | whose feedback a record is: keys, signing, verifying |
| `alarms` | the fields of an alarm's hash in Redis, and the JSON of its events |
| `cameras` | changes of cameras' states, for Kafka and Redis |

What other programs wrote is refused with a `RecordError` that names what was found. The room must not
know clients of Kafka or Redis: those move the bytes.
"""
