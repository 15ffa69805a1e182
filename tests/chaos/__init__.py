"""What Patchline promises, while things break: real brokers, real workers as processes, figures with goals."""
