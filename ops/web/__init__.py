"""The one HTTP port of a worker, and a client of it.

| file | holds |
|---|---|
| `server` | `HttpServer`: metrics, health and readiness; without the token all but `/healthz` is refused |
| `feedback_api` | feedback in, frames and explanations out; `ApiBackend` is what the routes speak to |
| `tls` | the server's certificate |
| `plain_http` | `plain_token_warning`: a token that would go over the network in the clear |
| `client` | `send_feedback` and `preview_feedback`: what `patchline confirm --url` sends |

Routes are given to the server from outside, so a page more needs no change of `server`. The room must not know settings
beyond their TLS section, nor how frames are judged.
"""
