"""Small helpers of every room that waits, stops or writes messages.

| file | holds |
|---|---|
| `retry` | `retry_until_done`: tries again what may succeed later, with growing pauses |
| `outbox` | `Outbox`: events that wait for a server, in order, and in nobody's way |
| `deadline` | `Deadline`: one deadline that all steps of a shutdown share |
| `json_text` | `decode_json`: JSON of others is a value, or one kind of error |
| `line_file` | `LineFile`: whole lines appended to a file that may be full, torn or rotated |
| `printable` | `one_line`, `several_lines`: how what others named is shown, in the whole project |
| `heartbeat` | `Heartbeat`, `Watchdog`: which part has work and does not move |
| `redaction` | `redact_url`, `redact_text`, `Redactor`: how credentials stay out of messages, in the whole project |

The room must not know what it is used for: it knows errors and the observer, and no frames.
"""
