-- grown_streams: $1 category id, $2 after this position, $3 up to this one, $4 state type, $5 schema version,
-- $6 fingerprint, $7 at least so many events. The streams of a category that have events in the range and have grown by
-- so many since their last snapshot of this shape.
SELECT n.name
  FROM (SELECT e.stream_id, max(e.version) AS version
          FROM :"schema".events e
         WHERE e.position > $2
           AND e.position <= $3
           AND e.stream_id >= $1::bigint << 48
           AND e.stream_id < ($1::bigint + 1) << 48
         GROUP BY e.stream_id) grown
  JOIN :"schema".streams n USING (stream_id)
 WHERE grown.version - $7 >= coalesce((SELECT max(s.version)
                                         FROM :"schema".snapshots s
                                        WHERE s.stream_id = grown.stream_id
                                          AND s.state_type = $4
                                          AND s.schema_version = $5
                                          AND s.fingerprint = $6), 0)
 ORDER BY n.name;
