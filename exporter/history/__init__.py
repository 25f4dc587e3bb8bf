"""History: what is booked in the ledger, copied to Supabase, exactly once and whenever that can be reached."""
