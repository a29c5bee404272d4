-- stream_events: $1 stream ids. The ids and positions of all their events, to find those of an import that are there already.
SELECT stream_id, version, event_id, position
  FROM :"schema".events
 WHERE stream_id = ANY ($1)
 ORDER BY stream_id, version;
