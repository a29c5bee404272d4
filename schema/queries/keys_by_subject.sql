-- keys_by_subject: $1 subjects. The newest key of each that can still be used.
SELECT DISTINCT ON (subject) key_id, subject, master_key_id, wrapped_key
  FROM :"schema".data_keys
 WHERE subject = ANY ($1)
   AND wrapped_key IS NOT NULL
 ORDER BY subject, created_at DESC, key_id DESC;
