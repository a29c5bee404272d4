-- streams_by_id: $1 ids.
SELECT stream_id, name FROM :"schema".streams WHERE stream_id = ANY ($1);
