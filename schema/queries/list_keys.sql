-- list_keys: each master key with the number of data keys that it wraps and of those that were shredded.
SELECT m.master_key_id, m.created_at,
       count(d.key_id) FILTER (WHERE d.wrapped_key IS NOT NULL),
       count(d.key_id) FILTER (WHERE d.shredded_at IS NOT NULL)
  FROM :"schema".master_keys m
  LEFT JOIN :"schema".data_keys d USING (master_key_id)
 GROUP BY m.master_key_id, m.created_at
 ORDER BY m.created_at, m.master_key_id;
