-- store: which store this is and the master keys that it has been written with.
SELECT s.store_id, m.master_key_id, m.proof
  FROM :"schema".store s
  LEFT JOIN :"schema".master_keys m ON true
 ORDER BY m.created_at, m.master_key_id;
