-- tail_kinds: which categories and types the events after position $1 up to $2 have.
SELECT c.name, k.type
  FROM (SELECT DISTINCT e.stream_id >> 48 AS category_id, e.type
          FROM :"schema".events e
         WHERE e.position > $1
           AND e.position <= $2) k
  LEFT JOIN :"schema".categories c ON c.category_id = k.category_id;
