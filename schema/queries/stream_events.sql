-- stream_events: $1 stream ids, $2 of each the version after which to begin, $3 how many. The ids and positions of their
-- events, each stream's in order, to find those of an import that are there already. Fewer than $3: there are no more.
SELECT stream.id, event.version, event.event_id, event.position
  FROM unnest($1::bigint[], $2::bigint[]) AS stream (id, after)
 CROSS JOIN LATERAL (
       SELECT version, event_id, position
         FROM :"schema".events
        WHERE stream_id = stream.id
          AND version > stream.after
        ORDER BY version
        LIMIT $3
       ) AS event
 LIMIT $3;
