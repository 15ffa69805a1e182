"""A simulated production line that shows the service at work, with no server to install."""
