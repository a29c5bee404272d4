-- streams_by_name: $1 names. The ids of those that exist.
SELECT name, stream_id FROM :"schema".streams WHERE name = ANY ($1);
