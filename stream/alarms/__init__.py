"""Alarms with the states of ISA-18.2, from committed results to Redis; the only room that imports a client of Redis.

| file | holds |
|---|---|
| `config` | `RedisConfig`, `AlarmLimits`, `JournalConfig` |
| `sink` | `AlarmSink`: what the pipeline gives outcomes to; a delivery never waits for Redis |
| `logs` | the ports `ResultLogs` and `ResultLog`: results in order, kept until they are applied |
| `journal` | `AlarmJournal`: the log of a service without Kafka, a file; with Kafka it is `kafka.result_logs` |
| `follower` | `AlarmFollower`: reads every log, a task each, from where Redis stands |
| `applier` | `AlarmApplier`: a run of results to states and events, each result once |
| `store` | `AlarmStore`: states, events and positions in Redis, changed together by one script |
| `keys`, `scripts`, `written` | the names in Redis; the scripts; what became of a write |
| `redis_client` | `RedisClient`: connects, logs in, and translates Redis's errors: all of them pass |
| `acknowledgements` | operators acknowledge, by a call or by a message |
| `shelf` | operators shelve alarms and forget cameras; what is shelved comes back by itself |
| `health` | `HealthAlarms`: the health alarm of each camera, which clears by itself |
| `urgency` | `AlarmConditions`: which cameras go first when the engine is short; asks no Redis |

The rule itself, k of n and m passes, is `model/alarm.py`: a pure function. Keys, events and rights are
`stream/alarms/README.md`. The room must not know Kafka: a log is all it sees of it.
"""
