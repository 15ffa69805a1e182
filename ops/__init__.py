"""What people run and look at: settings, command line, service assembly, metrics, health."""
