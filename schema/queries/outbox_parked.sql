-- outbox_parked: dead letters of group $1 after position $2, of fingerprint $3 and key $4 where they are given, $5 at most.
SELECT position, key, stream, version, type, event_id, problem, fingerprint, attempts, first_failed_at, parked_at, consumer,
       holds_key
  FROM :"schema".outbox_parked
 WHERE group_id = $1
   AND position > $2
   AND ($3::text IS NULL OR fingerprint = $3)
   AND ($4::text IS NULL OR split_part(key, E'\x1f', 1) = $4)
 ORDER BY position
 LIMIT $5;
