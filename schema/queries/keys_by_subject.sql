-- keys_by_subject: $1 subjects. The newest key of each that can still be used, and whether it may be this transaction's own, which
-- may yet be rolled back: then its time is the transaction's.
SELECT DISTINCT ON (subject) key_id, subject, master_key_id, wrapped_key, created_at = now()
  FROM :"schema".data_keys
 WHERE subject = ANY ($1)
   AND wrapped_key IS NOT NULL
 ORDER BY subject, created_at DESC, key_id DESC;
