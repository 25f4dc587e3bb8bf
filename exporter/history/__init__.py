"""History: a copy in Supabase of what the ledger has booked, sent exactly once, whenever Supabase can be reached."""
