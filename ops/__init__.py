"""What people run and look at: settings, command line, service assembly, metrics, health.

| room or file | holds |
|---|---|
| `cli` | the command `patchline`: which commands there are, and what an error looks like |
| `commands/` | one module a command: options in, one call, words or JSON out |
| `service/` | a worker, put together from settings, checked before it starts, run and stopped |
| `demo/` | a simulated production line that shows the same pipeline at work |
| `offline/` | folders of images, inspected and evaluated without a service |
| `web/` | the one HTTP port of a worker, and a client of it |
| `telemetry/` | metrics and logs, from what the pipeline tells its observers |
| `settings/` | one YAML file and the environment, read into sections that make the stream's configurations |
| `errors` | what is the user's to mend (exit status 2), and what failed at run time (1) |

Imports go down: `cli`, `commands`, then `service` and `demo`, then `offline`, `web` and `telemetry`, then `settings`,
then `errors`. The package must not know patches and tensors: it asks `patchline.engine` what an image shows, and leaves
to `patchline.stream` what becomes of a frame.
"""
