"""What runs beside the polls: when a job is due, and how the process takes less memory."""
