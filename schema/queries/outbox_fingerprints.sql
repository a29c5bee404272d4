-- outbox_fingerprints: the dead letters of group $1 by kind of problem, the most frequent first.
SELECT fingerprint, count(*), count(DISTINCT key), min(type), (array_agg(problem ORDER BY position DESC))[1],
       min(parked_at), max(parked_at)
  FROM :"schema".outbox_parked
 WHERE group_id = $1
 GROUP BY fingerprint
 ORDER BY 2 DESC, 1;
