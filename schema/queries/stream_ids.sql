-- stream_ids: $1 names. The ids of all of them; new streams are made.
SELECT name, stream_id FROM :"schema".stream_ids($1);
