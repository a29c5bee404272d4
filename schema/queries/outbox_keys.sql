-- outbox_keys: the keys of group $1 and shards $2 that are behind. Times in milliseconds from now; no delay: held.
SELECT key, shard, position,
       CASE WHEN due_at < 'infinity' THEN (extract(epoch FROM due_at - clock_timestamp()) * 1000)::bigint END AS delay,
       attempts,
       (extract(epoch FROM clock_timestamp() - first_failed_at) * 1000)::bigint AS age,
       problem
  FROM :"schema".outbox_keys
 WHERE group_id = $1
   AND get_bit($2::bit(256), shard) = 1;
