"""Settings: what may be set (`model`), and where it is read from (`load`)."""
