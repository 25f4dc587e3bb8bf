"""What runs beside the polls: when a job is due, upkeep, memory."""
