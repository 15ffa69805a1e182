"""The one HTTP port of a worker, and a client of it.

| file | holds |
|---|---|
| `server` | `HttpServer`: metrics, health, readiness and the description of the API; an application of Litestar |
| `access` | tokens are identities with roles; a route that names no role is closed |
| `feedback_api` | feedback in, frames and explanations out; `ApiBackend` is what the routes speak to |
| `cameras_api` | what each camera is doing |
| `listener` | accepts connections, no more than there may be |
| `first_bytes` | connections of which nothing has come yet that could be answered; they have no protocol |
| `protocol` | HTTP on a connection, by uvicorn's protocol, which says what it waits for |
| `connections` | how many connections there may be, how long each may be waited for, and which makes room |
| `descriptors` | how many of them leave descriptors for cameras, brokers and files |
| `tls` | the server's certificate |
| `plain_http` | `plain_token_warning`: a token that would go over the network in the clear |
| `client` | `send_feedback` and `preview_feedback`: what `patchline confirm --url` sends |

A request passes the limits (`listener`), then the question who asks (`access`), then the framework. Routes are given to
the server from outside and name their roles in `opt`, so a page more needs no change of `server`. The room must not
know settings beyond their section on HTTP, nor how frames are judged.
"""
