-- outbox_backlog: where the events of the streams named $1 are, after position $2 up to $3: in order.
SELECT e.position, s.name, e.type, e.metadata
  FROM :"schema".streams s
  JOIN :"schema".events e ON e.stream_id = s.stream_id
 WHERE s.name = ANY ($1)
   AND e.position > $2
   AND e.position <= $3
 ORDER BY e.position;
