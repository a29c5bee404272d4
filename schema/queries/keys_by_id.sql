-- keys_by_id: $1 ids. A shredded key has no wrapped_key.
SELECT key_id, subject, master_key_id, wrapped_key FROM :"schema".data_keys WHERE key_id = ANY ($1);
