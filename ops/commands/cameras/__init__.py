"""`patchline cameras`: what is asked of, and done to, the cameras that the service opens itself.

| file | commands |
|---|---|
| `references` | `reset`: a camera's pictures are learned anew; the group of commands |
"""
