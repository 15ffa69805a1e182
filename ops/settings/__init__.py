"""Settings: one YAML file, environment variables, secrets in files.

| file | holds |
|---|---|
| `model` | `Settings`, the whole |
| `cameras`, `servers`, `evidence`, `process` | its sections, which make the stream's configurations |
| `identities` | the sections on who may do what: tokens of HTTP, and keys that sign feedback |
| `base`, `secrets`, `locations` | what sections are made of: names, secrets, folders or URLs |
| `file`, `yaml_lines` | from a file and the environment to settings, or to every problem with its line |
| `keys`, `reference` | every key, listed from the models: for messages, the documentation and the example |

A setting stands in one place, the field of its section: name, kind, bounds, default (the stream's own where it has
one) and meaning. The keys are an interface: files that 0.1.0 read are read ever after. The room must not know what is
done with a configuration, and it opens no connection.
"""
