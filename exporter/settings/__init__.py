"""Settings: what may be set (`model`), where it is read from (`load`), and the reference page (`reference`)."""
