"""What the brokers hold, where aiokafka does not ask for it: which topic this is, where its logs end, its settings.

| file | holds |
|---|---|
| `requests` | requests of Kafka's protocol on aiokafka's own classes: topic ids, ends of epochs, one setting changed |
| `topic` | `TopicSeen`: the id, partitions and leaders of a topic as the brokers tell them now |
| `log_break` | where to read on when a partition's log and the remembered offset have parted ways, and who is told |
| `watch` | `TopicWatch`: looks at a topic again and again while it is read, and tells whether the brokers answer |

A remembered offset says nothing of the log that it counts in. The log may have been made anew, cut short, or begin
later than the offset by now; the client library then tells nothing, or jumps without a word. So all of it is compared.
The room must not know who owns a partition, nor frames.
"""
