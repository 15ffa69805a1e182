"""Record batches that cannot be decoded are kept from the client library, which would stop at them for ever.

| file | holds |
|---|---|
| `guarded_fetch` | `guard_fetches`: every answer to a consumer's fetches is looked at before the library has it |
| `waiting` | `WaitingPartitions`: those of which a broker can give nothing now |
| `answer` | `checked_answer`: the batches of one partition in such an answer |
| `checked_batch` | `checked_batch`: one batch; it passes, or placeholders stand for some or all of its records |
| `salvage` | the records of a batch of which some cannot be decoded |
| `epochs` | `LogEpochs`: in which epochs of the partition's leader batches were written |
| `placeholders` | records that stand for others, and `undecodable`, which tells them from all others |
| `legacy` | batches of brokers before Kafka 0.11 |
| `decompression` | the compressions, each bounded, and which of them are installed |
| `layout` | how batches lie in bytes |

A batch that is in order costs its CRC (which the library then need not compute) and one pass over its records. Every
fault of a batch costs that batch, or the one record that has it: each offset is a record to whoever reads, with the
reason in place of its bytes.
"""
