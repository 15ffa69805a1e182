"""Image and pixel metrics of anomaly scores and maps against labels and masks."""
