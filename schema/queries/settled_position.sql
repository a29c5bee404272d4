-- settled_position: the last event that is not after $1.
SELECT position
  FROM :"schema".events
 WHERE position <= $1
 ORDER BY position DESC
 LIMIT 1;
