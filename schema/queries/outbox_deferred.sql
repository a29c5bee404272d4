-- outbox_deferred: the events of group $1 and shards $2 that are to come by themselves. Times in milliseconds from now.
SELECT position, key, shard, (extract(epoch FROM due_at - clock_timestamp()) * 1000)::bigint AS delay, attempts,
       (extract(epoch FROM clock_timestamp() - first_failed_at) * 1000)::bigint AS age,
       problem, reason
  FROM :"schema".outbox_deferred
 WHERE group_id = $1
   AND get_bit($2::bit(256), shard) = 1;
