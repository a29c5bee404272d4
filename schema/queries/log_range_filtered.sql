-- log_range_filtered: the events after position $1 up to $2 of the categories $3 and types $4; null means all.
-- The category stands in the upper bits of the stream id.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
  FROM :"schema".events
 WHERE position > $1
   AND position <= $2
   AND ($3::bigint[] IS NULL OR stream_id >> 48 = ANY ($3))
   AND ($4::text[] IS NULL OR type = ANY ($4))
 ORDER BY position;
