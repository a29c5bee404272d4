-- log_range_filtered: the events after position $1 up to $2 of the categories $3, of the types $4 or of types like $5, and
-- of the shards $6; null means all; no more than the first $7, with payloads of at most $8 bytes: larger
-- ones are null. The category stands in the upper bits of the stream id.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata,
       CASE WHEN octet_length(data) <= $8 THEN data END AS data
  FROM :"schema".events
 WHERE position > $1
   AND position <= $2
   AND ($3::bigint[] IS NULL OR stream_id >> 48 = ANY ($3))
   AND ($4::text[] IS NULL OR type = ANY ($4) OR type LIKE ANY ($5::text[]))
   AND ($6::bit(256) IS NULL OR get_bit($6, shard) = 1)
 ORDER BY position
 LIMIT $7;
