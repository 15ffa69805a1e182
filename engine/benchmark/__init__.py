"""How long each stage of an inspection takes, beside what the machine can do."""
