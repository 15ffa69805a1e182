"""Settings: one YAML file, environment variables, secrets in files."""
