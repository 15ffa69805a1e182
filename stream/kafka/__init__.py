"""Frames from Kafka and results to it, exactly once; feedback and generations; the only room that imports aiokafka.

| file | holds |
|---|---|
| `config` | `KafkaConfig`: brokers, topics, group, login |
| `connection` | every client is made, connected and closed here, and its errors are translated here |
| `login` | a password that lies in a file is read again at each connection |
| `topics` | `ensure_topics` creates what is missing, with room for the largest frame |
| `batches/` | record batches that cannot be decoded: they never reach the client library |
| `records` | outcomes as records: results and dead letters |
| `source` | `KafkaSource`: polls the partitions that this worker holds |
| `partitions` | `PartitionOwnership`: the membership of the group, and how partitions change hands |
| `assignor` | `HandoverAssignor`: who gets which partition, and from whom |
| `read_ahead` | `ReadAheads`: frames that were fetched, and whose turn it is |
| `offsets` | the port `Offsets`, and `ConsumerOffsets` for brokers without transactions |
| `crash_notes` | `CrashNotes`: what a partition's next owner must know: of a crash, and of the log it reads |
| `lag` | how far this worker's partitions are behind |
| `transactions` | `PartitionTransactions`: the results and the offset of one partition as one |
| `exactly_once` | `ExactlyOnceSink`: the ledger, one transaction at a time for each partition; an `Offsets` too |
| `at_least_once` | `AtLeastOnceSink`: a plain producer |
| `result_logs` | `KafkaResultLogs`: committed results as the logs that alarms follow |
| `feedback` | `KafkaFeedback`: the inbox of learning on three topics |
| `events` | the room within: what is announced beside results |
| `cluster` | the room within: which topic this is, and where to go on when its log is not what the offset counts in |

`kafka.delivery` chooses: `exactly_once` gives the pipeline an `ExactlyOnceSink` as its ledger, and the source the same
object as its `Offsets`; `at_least_once` an `AtLeastOnceSink` among its sinks, and the source commits by its consumer.

References go one way: `source` has `partitions`, which has the consumer, the assignor and the offsets. Both put what
happens into `read_ahead`, which knows neither. What orders, crashes and commits promise, and what that rests on, is
`stream/kafka/README.md`. The room must not know the pipeline, cameras, Redis or settings.
"""
